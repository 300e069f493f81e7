/**
 * What `fintune data fetch` asks of the hub: the commit of a revision, the files of a commit, and their bytes. The
 * requests are those of `@huggingface/hub`; here are the settings, the token, and what a refusal means.
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expandHome } from "../../engine/files.js";
import { type Environment, hubHome } from "../../engine/hub_cache.js";
import { FintuneError, fromSystemError } from "../../errors.js";

/** A file of a repository. */
export interface HubFile {
	path: string;
	size: number;
	/** Its name in the cache: sha256 of the content of an LFS file, git's blob id of another. */
	hash: string;
}

/** A data set's repository on the hub. */
export interface HubRepository {
	/** @param revision branch, tag or commit */
	commitOf(revision: string): Promise<string>;
	filesOf(commit: string): Promise<HubFile[]>;
	/** The bytes of a file from an offset on. */
	read(commit: string, path: string, from: number): Promise<ReadableStream<Uint8Array>>;
}

export interface HubSettings {
	/** Without a slash at its end. */
	endpoint: string;
	token: string | undefined;
	offline: boolean;
}

const isTrue = (value: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(value ?? "");

/**
 * The hub's settings, by the environment variables of huggingface_hub.
 * @throws FintuneError E_CONFIG for an endpoint or a token that cannot be one; E_PERMISSION ... for an unreadable token file
 */
export async function hubSettings(env: Environment = process.env): Promise<HubSettings> {
	const written = env.HF_ENDPOINT || "https://huggingface.co";
	if (!/^https?:/.test(written) || !URL.canParse(written)) {
		throw new FintuneError("E_CONFIG", "is not the address of a hub", {
			where: "HF_ENDPOINT",
			expected: "such as https://huggingface.co",
			found: written,
		});
	}
	const endpoint = written.replace(/\/+$/, "");
	return { endpoint, token: await hubToken(env), offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE) };
}

async function hubToken(env: Environment): Promise<string | undefined> {
	const named = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
	const file = expandHome(env.HF_TOKEN_PATH || join(hubHome(env), "token"));
	const token = (named ?? (await readTokenFile(file))).trim();
	if (token === "") return undefined;
	if (/^[\x21-\x7e]+$/.test(token)) return token;
	throw new FintuneError("E_CONFIG", "is not a token of the hub", {
		where: named ? "HF_TOKEN" : file,
		expected: "one word, such as hf_...",
		found: "blanks or other characters in it",
	});
}

async function readTokenFile(path: string): Promise<string> {
	try {
		return await readFile(path, "utf8");
	} catch (error) {
		if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
		throw fromSystemError(error, path);
	}
}

/**
 * A data set's repository. Its functions throw FintuneErrors: E_PERMISSION where the hub wants a token or another one,
 * E_NOT_FOUND where it has no such repository, revision or file, E_NETWORK where it cannot be reached or does not answer
 * as a hub does.
 * @param instead how else to get the data, for messages
 */
export function openRepository(id: string, { endpoint, token }: HubSettings, instead: string): HubRepository {
	const page = `${endpoint}/datasets/${id}`;
	const refusal = (response: Response): FintuneError => refusalOf(response, { page, endpoint, token, instead });

	// The library gets no token: it would also send it to the server that an answer of the hub points to.
	const send: typeof fetch = async (input, init) => {
		const url = input instanceof Request ? input.url : String(input);
		const headers = new Headers(init?.headers);
		if (token !== undefined && new URL(url).origin === new URL(endpoint).origin) headers.set("Authorization", `Bearer ${token}`);
		let response: Response;
		try {
			response = await fetch(input, { ...init, headers });
		} catch (cause) {
			throw unreachable(url, cause, instead);
		}
		if (response.ok) return response;
		await response.body?.cancel();
		throw refusal(response);
	};
	const place = { hubUrl: endpoint, fetch: send };
	const repo = { type: "dataset", name: id } as const;
	const understand = async <T>(work: () => Promise<T>): Promise<T> => {
		try {
			return await work();
		} catch (cause) {
			if (cause instanceof FintuneError) throw cause;
			throw new FintuneError("E_NETWORK", "does not answer as the hub does", {
				where: page,
				found: (cause as Error).message,
				hint: "check HF_ENDPOINT, and whether the network wants a sign-in first",
				cause,
			});
		}
	};

	return {
		commitOf: (revision) =>
			understand(async () => {
				const { datasetInfo } = await import("@huggingface/hub");
				const { sha } = await datasetInfo({ ...place, name: id, revision, additionalFields: ["sha"] });
				if (!/^[0-9a-f]{40}$/.test(sha ?? "")) throw new Error(`no commit of ${revision}`);
				return sha;
			}),
		filesOf: (commit) =>
			understand(async () => {
				const { listFiles } = await import("@huggingface/hub");
				const files: HubFile[] = [];
				for await (const { type, path, size, oid, lfs } of listFiles({ ...place, repo, revision: commit, recursive: true })) {
					if (type === "file") files.push(checkedFile({ path, size: lfs?.size ?? size, hash: lfs?.oid ?? oid ?? "" }));
				}
				return files;
			}),
		read: (commit, path, from) =>
			understand(async () => {
				const { downloadFile } = await import("@huggingface/hub");
				const inUrl = path.split("/").map(encodeURIComponent).join("/");
				// Without xet every file comes by one plain request, which can go on in the middle.
				const blob = await downloadFile({ ...place, repo, revision: commit, path: inUrl, xet: false });
				if (!blob) throw new Error(`no file ${path}`);
				return (from === 0 ? blob : blob.slice(from)).stream();
			}),
	};
}

/** A path and a hash become paths of this machine: what could lead elsewhere is refused. */
function checkedFile(file: HubFile): HubFile {
	const parts = file.path.split("/");
	const stays = parts.every((part) => part !== "" && part !== "." && part !== ".." && !part.includes("\0"));
	if (!stays || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(file.hash)) {
		throw new Error(`a file ${JSON.stringify(file.path)} with the hash ${JSON.stringify(file.hash)}`);
	}
	return file;
}

/** An address without what may be secret in it. */
const shownUrl = (url: string): string => {
	const { origin, pathname } = new URL(url);
	return `${origin}${pathname}`;
};

function unreachable(url: string, thrown: unknown, instead: string): FintuneError {
	const cause = (thrown as Error).cause as NodeJS.ErrnoException | undefined;
	const reason = cause?.code ?? cause?.message ?? (thrown as Error).message;
	const behindProxy = (process.env.HTTPS_PROXY ?? process.env.https_proxy) && !process.env.NODE_USE_ENV_PROXY;
	const proxy = behindProxy ? "Node heeds HTTPS_PROXY only with NODE_USE_ENV_PROXY=1 (from Node 22.21 on). " : "";
	return new FintuneError("E_NETWORK", "cannot be reached", {
		where: shownUrl(url),
		found: reason,
		hint: `${proxy}Try again with a network; HF_HUB_OFFLINE=1 takes what was fetched before. Without one: ${instead}`,
		cause: thrown,
	});
}

/** What a refusal of the hub means, and what to do about it. */
function refusalOf(
	response: Response,
	{ page, endpoint, token, instead }: { page: string; endpoint: string; token: string | undefined; instead: string },
): FintuneError {
	const { status } = response;
	const error = response.headers.get("X-Error-Code") ?? "";
	const message = response.headers.get("X-Error-Message") ?? "";
	const found = [`HTTP ${status}`, error, message].filter(Boolean).join(" ");
	const where = shownUrl(response.url);
	const tokens = `${endpoint}/settings/tokens`;
	if (error === "RevisionNotFound" || error === "EntryNotFound") {
		const what = error === "RevisionNotFound" ? "revision" : "file";
		return new FintuneError("E_NOT_FOUND", `the data set has no such ${what}`, {
			where,
			found,
			hint: `see ${page}/commits/main`,
		});
	}
	// To those who show no token the hub does not say whether a private repository exists.
	if (status === 404 || error === "RepoNotFound") {
		const hidden = token === undefined ? `If it is private, set HF_TOKEN (${tokens}). ` : "";
		return new FintuneError("E_NOT_FOUND", "the hub has no such data set", { where: page, found, hint: `${hidden}${instead}` });
	}
	if (status === 401 || status === 403) {
		const account = token === undefined ? `set HF_TOKEN to a token of that account (${tokens})` : "fetch again with its token";
		const doubt = token === undefined ? "" : ` The token in use may also have expired or lack the right to read (${tokens}).`;
		return new FintuneError("E_PERMISSION", "the hub does not let you read this data set", {
			where: page,
			found: `${found}, ${token === undefined ? "no token" : "with a token"}`,
			hint: `Accept its licence at ${page}, then ${account}.${doubt} Or: ${instead}`,
		});
	}
	return new FintuneError("E_NETWORK", "the hub does not serve this now", { where, found, hint: "try again later" });
}
