/**
 * The sites of the CUDA kernels as their sources have them: each barrier, sync, wait and swizzle that a test can switch off
 * (native/cuda/gpu.h, wgmma.h, tma.h), by file and line.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Macros that are sites, and their kinds as the executor calls them: [["GPU_NAMED_BARRIER", "named barrier"], ...]. */
export function siteMacros(header) {
	const plain = header.replaceAll("\\\n", " ");
	return [...plain.matchAll(/^#define (GPU_\w+)\([^)]*\).*\bFINTUNE_(?:TMA_)?SITE\((\w+)\)/gm)].map(([, name, kind]) => [
		name,
		kind.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase(),
	]);
}

/** Sites of one file's text: {line, last, kind}; `last` is where the macro's arguments end. */
export function sitesOf(text, macros) {
	const code = text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " ")).replace(/\/\/.*/g, "");
	const lineAt = (index) => code.slice(0, index).split("\n").length;
	return macros
		.flatMap(([name, kind]) =>
			[...code.matchAll(new RegExp(`\\b${name}\\(`, "g"))].map(({ index }) => {
				let end = index + name.length;
				let depth = 0;
				do {
					if (code[end] === "(") depth++;
					if (code[end] === ")") depth--;
					end++;
				} while (depth > 0 && end < code.length);
				return { line: lineAt(index), last: lineAt(end - 1), kind };
			}),
		)
		.sort((a, b) => a.line - b.line);
}

/** All sites of native/cuda below `root`: {file, line, last, kind}, `file` without folders, as the executor reports it. */
export function sourceSites(root) {
	const macros = ["simt.h", "wgmma.h", "tma.h"].flatMap((name) =>
		siteMacros(readFileSync(join(root, "native", "simt", name), "utf8")),
	);
	const folder = join(root, "native", "cuda");
	// The headers that define and describe them.
	const headers = ["ptx.h", "gpu.h", "wgmma.h", "wgmma_ptx.h", "tma.h", "tma_ptx.h"];
	const files = readdirSync(folder).filter((name) => /\.(cu|cuh|h)$/.test(name) && !headers.includes(name));
	return files
		.sort()
		.flatMap((file) => sitesOf(readFileSync(join(folder, file), "utf8"), macros).map((site) => ({ file, ...site })));
}
