/**
 * What a program did to the files below a folder, as test/power/record_calls.c wrote it down.
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../repository.js";

/** One call, in the order in which they happened. */
export type Call =
	| { name: "open"; fd: number; flags: number; path: string }
	| { name: "write"; fd: number; offset: number; bytes: Buffer }
	| { name: "truncate"; fd: number; size: number }
	| { name: "sync"; fd: number }
	| { name: "mkdir" | "remove"; path: string }
	| { name: "rename"; from: string; to: string };

/** Builds a library to preload from a C file of this folder. */
export function preloadable(source: string, into: string): string {
	const library = join(into, source.replace(/\.c$/, ".so"));
	const file = join(root, "test", "power", source);
	const args = ["-std=gnu11", "-O1", "-fPIC", "-shared", "-o", library, file, "-ldl", "-lpthread"];
	const { status, stderr } = spawnSync("cc", args, { encoding: "utf8" });
	if (status !== 0) throw new Error(`cc ${args.join(" ")}\n${stderr}`);
	return library;
}

export const hasCompiler = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;

/**
 * Environment of a program that is recorded.
 * @param kill TEXT:N ends it N calls behind the first that names a path with this end
 */
export const recorded = (library: string, folder: string, to: string, kill?: string): Record<string, string> => ({
	LD_PRELOAD: library,
	FINTUNE_RECORD_BELOW: folder,
	FINTUNE_RECORD_TO: to,
	...(kill === undefined ? {} : { FINTUNE_RECORD_KILL: kill }),
	// Its writes would not go through the C library.
	UV_USE_IO_URING: "0",
});

/** @throws where the program did what is not modelled */
export function readCalls(path: string): Call[] {
	const bytes = readFileSync(path);
	const calls: Call[] = [];
	for (let at = 0; at < bytes.length; ) {
		const head = bytes.indexOf(0x0a, at);
		const [name, fd, number, one, two] = bytes.toString("latin1", at, head).split(" ");
		const middle = head + 1 + Number(one);
		const end = middle + Number(two);
		calls.push(callOf(name!, Number(fd), Number(number), bytes.subarray(head + 1, middle), bytes.subarray(middle, end)));
		at = end + 1;
	}
	return calls;
}

function callOf(name: string, fd: number, number: number, one: Buffer, two: Buffer): Call {
	switch (name) {
		case "open":
			return { name, fd, flags: number, path: one.toString() };
		case "write":
			return { name, fd, offset: number, bytes: one };
		case "truncate":
			return { name, fd, size: number };
		case "sync":
			return { name, fd };
		case "mkdir":
		case "remove":
			return { name, path: one.toString() };
		case "rename":
			return { name, from: one.toString(), to: two.toString() };
		default:
			throw new Error(`the program did ${name} ${one} ${two}, which is not modelled`);
	}
}
