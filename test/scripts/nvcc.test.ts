/**
 * The compiler launcher with a stand-in for nvcc: its cache, and what it keeps of ptxas.
 * @module
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import { childSeconds, includedFiles, parseCommand } from "../../scripts/nvcc.mjs";
import { root } from "../repository.js";

let dir: string;
let nvcc: string;
const at = (name: string) => join(dir, name);
const runs = () => (existsSync(at("runs")) ? readFileSync(at("runs"), "utf8").split("\n").length - 1 : 0);

beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-nvcc-"));
	nvcc = at("nvcc");
	// Its object is the source's text; two lines of ptxas, one warning, and the PTX that --keep leaves.
	writeFileSync(
		nvcc,
		`#!/bin/sh
[ "$1" = --version ] && { echo "release 13.0, V13.0.88"; exit 0; }
for word; do
  case "$previous" in -c) source=$word ;; -o) object=$word ;; --keep-dir) keep=$word ;; esac
  previous=$word
done
echo run >>"${at("runs")}"
grep -q broken "$source" && { echo "$source(1): error: broken" >&2; exit 2; }
cp "$source" "$object"
echo "ptxas info    : Compiling entry function '_Z1kv' for 'sm_80'" >&2
echo "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" >&2
echo "$source(1): warning: unused" >&2
printf '.target sm_80\\n.visible .entry _Z1kv(\\n)\\n.maxntid 128, 1, 1\\n{ ret; }\\n' >"$keep/k.compute_80.ptx"
`,
	);
	chmodSync(nvcc, 0o755);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
beforeEach(() => {
	for (const name of readdirSync(dir)) if (name !== "nvcc") rmSync(at(name), { recursive: true });
	writeFileSync(at("k.cu"), '#include "k.h"\n__global__ void k() {}\n');
	writeFileSync(at("k.h"), "// one\n");
});

function compile(object: string, more: string[] = [], cache = at("cache")) {
	const args = [...more, "-MD", "-MT", object, "-MF", at(`${object}.d`), "-x", "cu", "-c", at("k.cu"), "-o", at(object)];
	const { status, stderr } = spawnSync(process.execPath, [join(root, "scripts", "nvcc.mjs"), nvcc, ...args], {
		encoding: "utf8",
		env: { ...process.env, FINTUNE_NVCC_CACHE: cache },
	});
	const report = existsSync(at(`${object}.json`))
		? (JSON.parse(readFileSync(at(`${object}.json`), "utf8")) as { cached: boolean; bounds: unknown; verbose: string })
		: undefined;
	return { status, stderr, report, object: existsSync(at(object)) ? readFileSync(at(object), "utf8") : undefined };
}

it("keeps ptxas's words from the screen, and the warnings on it", () => {
	const { status, stderr, report } = compile("a.o");
	expect(status).toBe(0);
	expect(stderr).toContain("warning: unused");
	expect(stderr).not.toContain("ptxas info");
	expect(report?.verbose).toContain("Compiling entry function '_Z1kv' for 'sm_80'");
	expect(report?.bounds).toEqual({ sm_80: { _Z1kv: [128, 0] } });
});

it("compiles equal sources once, and again when a source, a header or an option differs", () => {
	const first = compile("a.o");
	const second = compile("b.o");
	expect([first.report?.cached, second.report?.cached, runs()]).toEqual([false, true, 1]);
	expect(second.object).toBe(first.object);
	expect(readFileSync(at("b.o.d"), "utf8")).toBe(`b.o: ${at("k.cu")} \\\n ${at("k.h")}\n`);
	compile("a.o", ["-DMORE"]);
	expect(runs()).toBe(2);
	writeFileSync(at("k.h"), "// two\n");
	compile("a.o");
	expect(runs()).toBe(3);
});

it("compiles again when what an options file says differs", () => {
	writeFileSync(at("options.rsp"), "-DONE");
	compile("a.o", ["--options-file", at("options.rsp")]);
	compile("a.o", ["--options-file", at("options.rsp")]);
	expect(runs()).toBe(1);
	writeFileSync(at("options.rsp"), "-DTWO");
	compile("a.o", ["--options-file", at("options.rsp")]);
	expect(runs()).toBe(2);
	compile("a.o", [`--options-file=${at("options.rsp")}`]);
	writeFileSync(at("options.rsp"), "-DTHREE");
	compile("a.o", [`--options-file=${at("options.rsp")}`]);
	expect(runs()).toBe(4);
});

it("compiles where the cache is damaged, off or not writable", () => {
	compile("a.o");
	for (const name of readdirSync(at("cache"))) if (name.endsWith(".o")) writeFileSync(join(at("cache"), name), "cut");
	expect(compile("b.o")).toMatchObject({ status: 0, report: { cached: false } });
	expect(compile("c.o").report?.cached).toBe(true);
	expect(compile("d.o", [], "off")).toMatchObject({ status: 0, report: { cached: false } });
	expect(compile("e.o", [], join(nvcc, "cache"))).toMatchObject({ status: 0, report: { cached: false } });
});

it("passes errors on, and keeps neither object nor report", () => {
	compile("a.o");
	writeFileSync(at("k.cu"), "broken\n");
	const { status, stderr, report } = compile("a.o");
	expect(status).toBe(2);
	expect(stderr).toContain("error: broken");
	expect(report).toBeUndefined();
});

it("reads command lines, includes and times", () => {
	expect(parseCommand(["-x", "cu", "-c", "a.cu", "-o", "a.o"])).toMatchObject({ source: "a.cu", object: "a.o" });
	expect(parseCommand(["-v", "a.cu"])).toBeUndefined();
	expect(parseCommand(["-c", "a.cc", "-o", "a.o"])).toBeUndefined();
	writeFileSync(at("k.h"), '#include "k2.h"\n#include <vector>\n  #  include "k.h"\n');
	writeFileSync(at("k2.h"), "");
	expect(includedFiles(at("k.cu"), join(root, "native"))).toEqual([at("k.h"), at("k2.h")]);
	expect(childSeconds("0m0.00s 0m0.01s\n1m2.50s 0m0.25s\n")).toBeCloseTo(62.75);
});
