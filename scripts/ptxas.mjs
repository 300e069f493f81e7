/**
 * Reads what `nvcc -Xptxas -v` prints and what PTX says of launch bounds, and computes from them how many blocks of a kernel
 * an SM holds.
 */
import { spawnSync } from "node:child_process";

/** Lines of ptxas -v with its remarks on lost speed, and everything else that a compiler run printed. */
export function splitVerbose(text) {
	const verbose = [];
	const rest = [];
	for (const line of text.split("\n")) {
		if (/^ptxas info\b|^ptxas \w+\s*: \(C\d+\) Potential Performance Loss\b|^ {4}\d+ bytes stack frame,/.test(line))
			verbose.push(line);
		else rest.push(line);
	}
	return { verbose: verbose.join("\n"), rest: rest.join("\n") };
}

/** Entry functions of a PTX file with their .maxntid and .minnctapersm: {mangled: [threads, blocks]}, 0 where not stated. */
export function parseBounds(ptx) {
	const bounds = {};
	for (const match of ptx.matchAll(/\.entry\s+([\w$.]+)\s*(?:\([^)]*\))?([^{;]*)[{;]/g)) {
		const directive = (name) => {
			const values = new RegExp(`\\.${name}\\s+([\\d,\\s]+)`).exec(match[2])?.[1];
			return values ? values.split(",").reduce((product, n) => product * Number(n), 1) : 0;
		};
		bounds[match[1]] = [directive("maxntid") || directive("reqntid"), directive("minnctapersm")];
	}
	return bounds;
}

/**
 * ptxas -v as one entry a kernel and architecture; device functions that were not inlined are not listed.
 * @returns {{symbol: string, arch: string, registers: number, stack: number, spillStores: number, spillLoads: number, shared: number}[]}
 */
export function parseVerbose(text) {
	const entries = [];
	let entry;
	let properties = false;
	const number = (pattern, line) => Number(pattern.exec(line)?.[1] ?? 0);
	for (const line of text.split("\n")) {
		const begin = /Compiling entry function '([^']+)' for '(sm_\w+)'/.exec(line);
		if (begin) {
			entry = { symbol: begin[1], arch: begin[2], registers: 0, stack: 0, spillStores: 0, spillLoads: 0, shared: 0 };
			entries.push(entry);
			continue;
		}
		const function_ = /Function properties for (\S+)/.exec(line);
		if (function_) {
			properties = function_[1] === entry?.symbol;
		} else if (entry && properties && /bytes stack frame/.test(line)) {
			entry.stack = number(/(\d+) bytes stack frame/, line);
			entry.spillStores = number(/(\d+) bytes spill stores/, line);
			entry.spillLoads = number(/(\d+) bytes spill loads/, line);
		} else if (entry && /Used \d+ registers/.test(line)) {
			entry.registers = number(/Used (\d+) registers/, line);
			entry.shared = number(/(\d+) bytes smem/, line);
		}
	}
	return entries;
}

/**
 * Where ptxas gave up the overlap of wgmma instructions ("Potential Performance Loss", C7510 and its neighbours): the kernel
 * computes the same, at a fraction of the speed. ptxas calls it information, and names no architecture.
 * @returns {{symbol: string, code: string, reason: string}[]}
 */
export function parseLosses(text) {
	const pattern = /^ptxas \w+\s*: \((C\d+)\) Potential Performance Loss: (.+?) in (?:the )?function '([^']+)'/gm;
	return [...text.matchAll(pattern)].map(([, code, reason, symbol]) => ({ symbol, code, reason }));
}

/**
 * Mangled names to what a reader and a diff can use: without fintune's namespaces, return type and parameters, and without
 * the numbers that nvcc puts into the names of internal functions.
 */
export function readableNames(symbols) {
	const stable = symbols.map(stableSymbol);
	const { stdout, error } = spawnSync("c++filt", { input: stable.join("\n"), encoding: "utf8" });
	if (error) throw new Error("c++filt does not run (it comes with binutils)");
	return stdout.replace(/\n$/, "").split("\n").map(readableName);
}

/** nvcc names the anonymous namespace of a file _GLOBAL__N__<hash>_<length>_<file>_<hash>_<number>; its plain name has no number. */
export function stableSymbol(symbol) {
	let out = "";
	for (let at = 0; at < symbol.length; ) {
		const match = /^(\d+)_GLOBAL__N__/.exec(symbol.slice(at));
		if (!match) {
			out += symbol[at];
			at += 1;
			continue;
		}
		out += "12_GLOBAL__N_1";
		at += match[1].length + Number(match[1]);
	}
	return out;
}

/** `void fintune::cuda::(anonymous namespace)::f<fintune::bf16, 64>(Params)` to `f<bf16, 64>`. */
export function readableName(demangled) {
	const plain = demangled.replace(/\(anonymous namespace\)::/g, "").replace(/\bfintune::(?:\w+::)*/g, "");
	let depth = 0;
	let end = plain.length;
	for (let i = 0; i < plain.length; i++) {
		if (plain[i] === "<") depth += 1;
		else if (plain[i] === ">") depth -= 1;
		else if (plain[i] === "(" && depth === 0) {
			end = i;
			break;
		}
	}
	return plain.slice(0, end).replace(/^void /, "");
}

/** Of one SM: threads, blocks and registers (65,536 everywhere, handed to warps in units of 256). */
const limits = {
	75: { threads: 1024, blocks: 16 },
	80: { threads: 2048, blocks: 32 },
	86: { threads: 1536, blocks: 16 },
	89: { threads: 1536, blocks: 24 },
	90: { threads: 2048, blocks: 32 },
	100: { threads: 2048, blocks: 32 },
	110: { threads: 1536, blocks: 24 },
	120: { threads: 1536, blocks: 24 },
};

/**
 * Blocks of `threads` that an SM holds at once as far as threads and registers go; dynamic shared memory, which only a launch
 * knows, may allow fewer. Undefined for an architecture that is not in the table, or without launch bounds.
 */
export function blocksPerMultiprocessor(arch, threads, registers) {
	const limit = limits[/\d+/.exec(arch)?.[0]];
	if (!limit || !threads) return undefined;
	const warps = Math.ceil(threads / 32);
	const registersPerWarp = Math.ceil((Math.max(registers, 1) * 32) / 256) * 256;
	// Registers belong to one of four schedulers, each with a quarter of them and of the warps.
	const warpsByRegisters = Math.floor(16384 / registersPerWarp) * 4;
	return Math.min(limit.blocks, Math.floor(limit.threads / (warps * 32)), Math.floor(warpsByRegisters / warps));
}
