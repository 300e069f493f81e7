/**
 * Holds the layers: who may import whom, in TypeScript and in C++. Every message names file, line and rule.
 * @module
 */
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { lineAt, readText, sourceFiles } from "./repository.js";

interface Import {
	file: string;
	line: number;
	/** As written. */
	target: string;
}

/** What the rules say about a set of imports: "file:line: imports X: rule". */
type Rule = (edge: Import) => string | undefined;

const broken = (imports: readonly Import[], rule: Rule): string[] =>
	imports.flatMap((edge) => {
		const message = rule(edge);
		return message === undefined ? [] : [`${edge.file}:${edge.line}: "${edge.target}": ${message}`];
	});

/** One cycle of a graph as "a -> b -> a", or undefined. */
function findCycle(edges: readonly (readonly [string, string])[]): string | undefined {
	const next = new Map<string, Set<string>>();
	for (const [from, to] of edges) if (from !== to) next.set(from, (next.get(from) ?? new Set()).add(to));
	const finished = new Set<string>();
	const visit = (node: string, path: readonly string[]): string | undefined => {
		if (path.includes(node)) return [...path.slice(path.indexOf(node)), node].join(" -> ");
		if (finished.has(node)) return undefined;
		for (const target of next.get(node) ?? []) {
			const cycle = visit(target, [...path, node]);
			if (cycle) return cycle;
		}
		finished.add(node);
		return undefined;
	};
	for (const node of next.keys()) {
		const cycle = visit(node, []);
		if (cycle) return cycle;
	}
	return undefined;
}

describe("src", () => {
	/** From the top; folders of one line know nothing of each other's callers, and may use each other only without a cycle. */
	const order = [
		["cli"],
		["index.ts"],
		["pipeline"],
		["stages"],
		["tasks"],
		["data", "text", "metrics", "report", "export", "bench"],
		["engine"],
	];
	/** Leaves at the root of src that every layer may use. */
	const common = ["errors.ts", "philox.ts", "version.ts"];
	const rank = (part: string): number => order.findIndex((names) => names.includes(part));

	const files = sourceFiles(["src"], /\.ts$/);
	const imports: Import[] = files.flatMap((file) => {
		const text = readText(file);
		return ts
			.preProcessFile(text, true, true)
			.importedFiles.map(({ fileName, pos }) => ({ file, line: lineAt(text, pos), target: fileName }));
	});
	/** src/report/table.ts -> report; src/errors.ts -> errors.ts. */
	const part = (path: string): string => path.split("/")[1] as string;
	const resolved = ({ file, target }: Import): string | undefined =>
		target.startsWith(".") ? new URL(target, `file:///${file}`).pathname.slice(1).replace(/\.js$/, ".ts") : undefined;

	it("has sources, and every folder has its place in the order", () => {
		expect(files.length).toBeGreaterThan(10);
		expect(imports.length).toBeGreaterThan(10);
		const unplaced = files.filter((file) => rank(part(file)) < 0 && !common.includes(part(file)));
		expect(unplaced, "files outside the layers of DESIGN").toEqual([]);
	});

	it("imports only what exists", () => {
		const missing = (edge: Import): string | undefined => {
			const path = resolved(edge);
			return path === undefined || files.includes(path) || path === "package.json" ? undefined : `there is no ${path}`;
		};
		expect(broken(imports, missing)).toEqual([]);
	});

	it("never imports upward", () => {
		const upward = (edge: Import): string | undefined => {
			const path = resolved(edge);
			if (!path?.startsWith("src/")) return undefined;
			const [from, to] = [part(edge.file), part(path)];
			if (common.includes(to)) return undefined;
			if (common.includes(from)) return `${from} is at the bottom and imports nothing of src`;
			return rank(to) < rank(from) ? `${from} stands below ${to}` : undefined;
		};
		expect(broken(imports, upward)).toEqual([]);
	});

	it("has no circular import between folders", () => {
		const edges = imports.flatMap((edge) => {
			const path = resolved(edge);
			return path?.startsWith("src/") ? [[part(edge.file), part(path)] as const] : [];
		});
		expect(findCycle(edges)).toBeUndefined();
	});

	it("reaches the addon only through the engine, and depends only on what package.json declares", () => {
		const manifest = JSON.parse(readText("package.json")) as { dependencies: Record<string, string> };
		const rule = ({ file, target }: Import): string | undefined => {
			if (/\.node$/.test(target) || target === "node-gyp-build") {
				return file.startsWith("src/engine/") ? undefined : "only src/engine loads the addon";
			}
			if (target.startsWith(".") || target.startsWith("node:")) return undefined;
			const name = target
				.split("/")
				.slice(0, target.startsWith("@") ? 2 : 1)
				.join("/");
			return name in manifest.dependencies ? undefined : `${name} is not among the dependencies of package.json`;
		};
		expect(broken(imports, rule)).toEqual([]);
		const byName = files.flatMap((file) => {
			const found = file.startsWith("src/engine/")
				? null
				: /["'`][^"'`\n]*\.node["'`]|["'`]node-gyp-build["'`]/.exec(readText(file));
			return found ? [`${file}:${lineAt(readText(file), found.index)}: ${found[0]}: only src/engine knows the addon`] : [];
		});
		expect(byName).toEqual([]);
	});
});

describe("native", () => {
	/**
	 * What a folder may include besides itself. ops holds one header an op; cpu and cuda implement those headers, so
	 * they include ops, and ops includes no backend. Above ops a backend has one door, its dispatch.h.
	 */
	const allowed: Record<string, readonly string[]> = {
		core: [],
		ops: ["core"],
		cpu: ["ops", "core"],
		cuda: ["ops", "core"],
		simt: ["cuda", "ops", "core"],
		model: ["ops", "core"],
		train: ["model", "ops", "core"],
		generate: ["train", "model", "ops", "core"],
		addon: ["generate", "train", "model", "ops", "cpu", "cuda", "simt", "core"],
	};
	/** In test builds the names that kernels are written with are the executor's. */
	const doors: Record<string, string> = {
		"native/cuda/gpu.h": '"simt/simt.h"',
		"native/cuda/tma.h": '"simt/tma.h"',
		"native/cuda/wgmma.h": '"simt/wgmma.h"',
		"native/cuda/wgmma_operands.h": '"simt/wgmma_operands.h"',
	};
	const files = sourceFiles(["native"], /\.(h|cc|cu|cuh|inc)$/);
	const texts = new Map(files.map((file) => [file, readText(file)] as const));
	const includes: Import[] = files.flatMap((file) => {
		const text = texts.get(file) as string;
		return [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]*([<"][^>"]+[>"])/gm)].map((match) => ({
			file,
			line: lineAt(text, match.index),
			target: match[1] as string,
		}));
	});
	const folder = (file: string): string => file.split("/")[1] as string;
	const own = (target: string): string | undefined => (target.startsWith('"') ? target.slice(1, -1).split("/")[0] : undefined);

	/** Every match of `pattern` outside of `exempt` files. */
	function mentions(
		pattern: RegExp,
		rule: string,
		exempt: (file: string, match: string) => boolean,
		view = (text: string) => text,
	): string[] {
		return files.flatMap((file) => {
			const text = view(texts.get(file) as string);
			return [...text.matchAll(pattern)]
				.filter((match) => !exempt(file, match[0]))
				.map((match) => `${file}:${lineAt(text, match.index)}: ${match[0].trim()}: ${rule}`);
		});
	}
	/** Comments blanked, lines kept. */
	const withoutComments = (text: string): string =>
		text.replace(
			/("(?:[^"\\\n]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g,
			(all, literal?: string) => literal ?? all.replace(/[^\n]/g, " "),
		);

	it("has sources, and every folder has its place in the order", () => {
		expect(files.length).toBeGreaterThan(10);
		expect(includes.length).toBeGreaterThan(10);
		expect(files.filter((file) => !(folder(file) in allowed))).toEqual([]);
	});

	it("includes only downward, by paths from native/", () => {
		const rule = ({ file, target }: Import): string | undefined => {
			const to = own(target);
			if (to === undefined || to === folder(file)) return undefined;
			if (doors[file] === target) return undefined;
			if (!(to in allowed)) return 'write the path from native/, as in "core/error.h"';
			return allowed[folder(file)]?.includes(to)
				? undefined
				: `native/${folder(file)} may include ${allowed[folder(file)]?.join(", ") || "only itself"}`;
		};
		expect(broken(includes, rule)).toEqual([]);
	});

	it("includes only what exists", () => {
		const rule = ({ target }: Import): string | undefined =>
			own(target) === undefined || texts.has(`native/${target.slice(1, -1)}`) ? undefined : "there is no such file below native/";
		expect(broken(includes, rule)).toEqual([]);
	});

	it("has no circular include between files", () => {
		expect(
			findCycle(includes.flatMap(({ file, target }) => (own(target) ? [[file, `native/${target.slice(1, -1)}`] as const] : []))),
		).toBeUndefined();
	});

	it("keeps N-API in native/addon", () => {
		const rule = "N-API belongs into native/addon";
		const inside = (file: string): boolean => folder(file) === "addon";
		const included = broken(includes, ({ file, target }) =>
			/napi|node_api|uv\.h|v8/.test(target) && !inside(file) ? rule : undefined,
		);
		expect([...included, ...mentions(/\b(Napi::\w+|napi_\w+)/g, rule, inside, withoutComments)]).toEqual([]);
	});

	it("keeps CUDA in native/cuda", () => {
		const rule = "CUDA belongs into native/cuda";
		const inside = (file: string): boolean => ["cuda", "simt"].includes(folder(file));
		// The one mark by which a function of native/core may also be called from kernels.
		const marked = (text: string): string => withoutComments(text).replace("#define FINTUNE_HD __host__ __device__", "");
		const header = /^<(cuda|cublas|cooperative_groups|mma\.h|nv|thrust|cub\/)/;
		const word = /\b(cuda[A-Z]\w*|cublas\w+|__nv_\w+|__(?:global|device|shared)__)/g;
		const included = broken(includes, ({ file, target }) => (header.test(target) && !inside(file) ? rule : undefined));
		expect([...included, ...mentions(word, rule, inside, marked)]).toEqual([]);
	});

	it("knows no path and no file of a model", () => {
		const pattern =
			/"(?:~?\/[A-Za-z.][^"\n]*|\.{1,2}\/[^"\n]*|(?:runs|data|configs|models|stages|adapter|checkpoints|build|src|native|test)\/[^"\n]*|[^"\n]*\.(?:jsonl?|ya?ml|safetensors|csv|txt|html))"/g;
		const inInclude = (text: string): string =>
			withoutComments(text).replace(/^[ \t]*#[ \t]*include[^\n]*/gm, (line) => " ".repeat(line.length));
		expect(mentions(pattern, "a path belongs into TypeScript", () => false, inInclude)).toEqual([]);
	});

	it("knows no word of finance", () => {
		const words =
			/\b(financ\w*|fintech|banking|stocks?|fomc|hawkish|dovish|headlines?|sentiments?|credit\w*|loans?|earnings|currenc\w+|portfolios?|dividends?|revenues?|brokers?|treasur\w+|equit(?:y|ies)|investors?|securities|sec filings?|leaderboard|finllm|fpb|fiqa\w*|fincausal|german|tat-?qa|finqa|flare_\w+)\b/gi;
		expect(mentions(words, "finance belongs into src/tasks", () => false)).toEqual([]);
	});

	it("never exits, aborts or prints", () => {
		const pattern =
			/\b(std::(?:cout|cerr|clog|exit|quick_exit|abort|terminate)\b|(?<![\w.>:])(?:exit|_exit|abort|f?printf|puts|perror|assert)\s*\()/g;
		expect(mentions(pattern, "throw fintune::Error instead", (file) => folder(file) === "simt", withoutComments)).toEqual([]);
	});
});
