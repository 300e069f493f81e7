/**
 * A hub on this machine, with the requests that `@huggingface/hub` makes: the commit of a revision, pages of the tree,
 * files, those of LFS by way of another server. It keeps what it was asked, and breaks off or lies on demand.
 * @module
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubContent {
	[path: string]: { content: Uint8Array; lfs?: boolean };
}

export interface Asked {
	server: "hub" | "cdn";
	path: string;
	token: string | undefined;
	range: string | undefined;
}

export const sha256 = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");
export const gitBlob = (content: Uint8Array): string =>
	createHash("sha1").update(`blob ${content.byteLength}\0`).update(content).digest("hex");

type Headers = Record<string, string | number>;

export class HubServer {
	readonly asked: Asked[] = [];
	/** Branches and tags to commits. */
	readonly refs: Record<string, string> = {};
	readonly commits: Record<string, HubContent> = {};
	/** Whether files are given only to those who show this token. */
	gate: string | undefined;
	/** Sent in place of a file's content, by path. */
	readonly lies = new Map<string, Uint8Array>();
	/** After how many bytes of a whole or rest of a file the next connections break. */
	readonly breaks: number[] = [];
	/** Every answer is this, whatever is asked. */
	answer: { status: number; body: string; headers?: Headers } | undefined;
	/** Which ranges are answered as such; others with the whole file. */
	ranges: "all" | "probes" = "all";
	readonly #servers: Server[] = [];
	readonly #id: string;
	endpoint = "";
	#cdn = "";

	constructor(id: string) {
		this.#id = id;
	}

	async start(): Promise<void> {
		this.endpoint = await this.#listen("hub", (request, response) => this.#hub(request, response));
		this.#cdn = await this.#listen("cdn", (request, response) => this.#file(request, response, decodeURI(request.url ?? "")));
	}

	async stop(): Promise<void> {
		for (const server of this.#servers) {
			server.closeAllConnections();
			await new Promise((done) => server.close(done));
		}
	}

	/** Requests for files, of either server, in order. */
	get files(): Asked[] {
		return this.asked.filter(({ server, path }) => server === "cdn" || path.includes("/resolve/"));
	}

	#listen(name: Asked["server"], answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
		const server = createServer((request, response) => {
			const { authorization, range } = request.headers;
			this.asked.push({ server: name, path: request.url ?? "", token: authorization, range });
			if (this.answer) response.writeHead(this.answer.status, this.answer.headers).end(this.answer.body);
			else answer(request, response);
		});
		this.#servers.push(server);
		return new Promise((done) => {
			server.listen(0, "127.0.0.1", () => done(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
		});
	}

	#hub(request: IncomingMessage, response: ServerResponse): void {
		const url = new URL(request.url ?? "", this.endpoint);
		const api = /^\/api\/datasets\/([^/]+\/[^/]+)\/(revision|tree)\/([^/]+)$/.exec(url.pathname);
		const resolve = /^\/datasets\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
		const refuse = (status: number, code: string) =>
			response
				.writeHead(status, { "X-Error-Code": code, "Content-Type": "application/json" })
				.end(JSON.stringify({ error: code }));
		const named = decodeURIComponent(api?.[3] ?? resolve?.[2] ?? "");
		const commit = this.refs[named] ?? named;
		const content = this.commits[commit];
		if ((api?.[1] ?? resolve?.[1]) !== this.#id) return void refuse(request.headers.authorization ? 404 : 401, "RepoNotFound");
		if (!content) return void refuse(404, "RevisionNotFound");
		if (api) {
			const found = api[2] === "revision" ? { _id: "1", id: this.#id, sha: commit } : this.#page(url, content, response);
			return void response.setHeader("Content-Type", "application/json").end(JSON.stringify(found));
		}
		if (this.gate !== undefined && request.headers.authorization !== `Bearer ${this.gate}`) {
			return void refuse(request.headers.authorization ? 403 : 401, "GatedRepo");
		}
		const path = decodeURIComponent(resolve?.[3] ?? "");
		const file = content[path];
		if (!file) return void refuse(404, "EntryNotFound");
		const oid = file.lfs ? sha256(file.content) : gitBlob(file.content);
		response.setHeader("X-Repo-Commit", commit);
		if (file.lfs) {
			const linked = { "X-Linked-Etag": `"${oid}"`, "X-Linked-Size": file.content.byteLength };
			return void response.writeHead(302, { ...linked, Location: `${this.#cdn}/${commit}/${path}` }).end();
		}
		this.#file(request, response, `/${commit}/${path}`);
	}

	/** Two entries a page, as the tree comes in pages of a thousand. */
	#page(url: URL, content: HubContent, response: ServerResponse): unknown[] {
		const folders = new Set(Object.keys(content).flatMap((path) => (path.includes("/") ? [path.split("/")[0] as string] : [])));
		const entries = [
			...[...folders].map((path) => ({ type: "directory", oid: "0".repeat(40), size: 0, path })),
			...Object.entries(content).map(([path, { content: bytes, lfs }]) => ({
				type: "file",
				path,
				size: bytes.byteLength,
				oid: gitBlob(lfs ? Buffer.from("pointer") : bytes),
				...(lfs ? { lfs: { oid: sha256(bytes), size: bytes.byteLength, pointerSize: 130 } } : {}),
			})),
		];
		const from = Number(url.searchParams.get("cursor") ?? 0);
		if (from + 2 < entries.length) {
			url.searchParams.set("cursor", String(from + 2));
			response.setHeader("Link", `<${url.href}>; rel="next"`);
		}
		return entries.slice(from, from + 2);
	}

	#file(request: IncomingMessage, response: ServerResponse, place: string): void {
		const [, commit = "", ...rest] = place.split("/");
		const path = rest.join("/");
		const bytes = this.lies.get(path) ?? this.commits[commit]?.[path]?.content ?? Buffer.alloc(0);
		const size = bytes.byteLength;
		const isProbe = request.headers.range === "bytes=0-0";
		const asked = isProbe || this.ranges === "all" ? request.headers.range : undefined;
		const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(asked ?? "") ?? [];
		const from = Number(first ?? 0);
		const sent = bytes.subarray(from, last ? Number(last) + 1 : size);
		const range = first === undefined ? {} : { "Content-Range": `bytes ${from}-${from + sent.byteLength - 1}/${size}` };
		// From a server that calls itself so, the library asks the rest of a file directly.
		const cache = { "X-Cache": "Miss from cloudfront" };
		const headers = { ...range, ...cache, ETag: `"${gitBlob(bytes)}"`, "Content-Length": sent.byteLength };
		response.writeHead(first === undefined ? 200 : 206, headers);
		const broken = isProbe ? undefined : this.breaks.shift();
		if (broken === undefined) return void response.end(sent);
		response.write(sent.subarray(0, broken), () => setTimeout(() => response.destroy(), 20));
	}
}
