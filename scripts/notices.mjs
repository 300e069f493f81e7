/**
 * Writes THIRD_PARTY_NOTICES.md: every production dependency with its licence text, and the data that ships.
 * `--check` writes nothing and fails when the file is not up to date. Reads package-lock.json and node_modules only.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "THIRD_PARTY_NOTICES.md");

/** Production packages of the lock file, one entry a name and version. */
function packages() {
	const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
	const found = new Map();
	for (const [path, entry] of Object.entries(lock.packages)) {
		if (path === "" || entry.dev || entry.devOptional) continue;
		const folder = join(root, path);
		if (!existsSync(join(folder, "package.json"))) {
			if (entry.optional) continue;
			throw new Error(`${path} is in package-lock.json but not installed: run npm ci first`);
		}
		const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
		const texts = readdirSync(folder)
			.filter((name) => /^(licen[cs]e|copying|notice)(\.|-|$)/i.test(name) && !/\.(js|ts|json)$/.test(name))
			.sort()
			.map((name) => readFileSync(join(folder, name), "utf8").replace(/\r\n/g, "\n").trim());
		const author = typeof manifest.author === "string" ? manifest.author : manifest.author?.name;
		found.set(`${manifest.name} ${manifest.version}`, {
			licence: manifest.license ?? entry.license ?? "not stated",
			author,
			texts,
		});
	}
	return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Folders below data/ and models/ that say where their content comes from. */
function sources() {
	return ["data", "models"].flatMap((parent) =>
		existsSync(join(root, parent))
			? readdirSync(join(root, parent))
					.sort()
					.map((name) => `${parent}/${name}`)
					.filter((folder) => existsSync(join(root, folder, "SOURCE.txt")))
			: [],
	);
}

/** A fence longer than any run of backticks inside. */
function fenced(text) {
	const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((match) => match[0].length));
	const fence = "`".repeat(longest + 1);
	return `${fence}text\n${text}\n${fence}`;
}

function render() {
	const all = packages();
	const rows = all.map(([name, { licence, author }]) => `| ${name} | ${licence} | ${(author ?? "").replace(/\|/g, "\\|")} |`);
	const byText = new Map();
	for (const [name, { texts, licence, author }] of all) {
		const text =
			texts.length > 0 ? texts.join("\n\n") : `${licence}${author ? `, ${author}` : ""} (the package carries no licence file)`;
		byText.set(text, [...(byText.get(text) ?? []), name]);
	}
	const data = sources().map(
		(folder) => `### ${folder}\n\n${fenced(readFileSync(join(root, folder, "SOURCE.txt"), "utf8").trim())}`,
	);
	return `# Third-party notices

fintune itself is licensed under Apache-2.0 (LICENSE). It uses the packages below, which npm installs beside it; none of
their code is copied into this repository. The compiled addon contains inline functions of node-addon-api and, on
Linux, the GNU C++ runtime linked statically (GPL-3.0 with the GCC Runtime Library Exception). The addon with CUDA also
contains NVIDIA's CUDA runtime (libcudart_static), which NVIDIA's CUDA Toolkit EULA (attachment A) allows to distribute
with an application.

This file is written by \`node scripts/notices.mjs\`.

## Packages

| package | licence | author |
|---|---|---|
${rows.join("\n")}

## Data that ships with fintune

${data.join("\n\n")}

## Licence texts

${[...byText].map(([text, names]) => `### ${names.join(", ")}\n\n${fenced(text)}`).join("\n\n")}
`;
}

const text = render();
if (process.argv.includes("--check")) {
	const current = existsSync(target) ? readFileSync(target, "utf8") : "";
	if (current !== text) {
		console.error("THIRD_PARTY_NOTICES.md is not up to date: run node scripts/notices.mjs");
		process.exitCode = 1;
	}
} else {
	writeFileSync(target, text);
	console.error(`wrote ${target}`);
}
