/**
 * The report about registers and spills: reading ptxas, names, occupancy, and the comparison that guards them.
 * @module
 */
import { describe, expect, it } from "vitest";
import {
	blocksPerMultiprocessor,
	parseBounds,
	parseLosses,
	parseVerbose,
	readableName,
	readableNames,
	splitVerbose,
	stableSymbol,
	// @ts-expect-error a script without declarations
} from "../../scripts/ptxas.mjs";
// @ts-expect-error a script without declarations
import { compare, kernelsOf, render, serialised } from "../../scripts/ptxas-report.mjs";

const symbol = "_ZN7fintune4cuda41_GLOBAL__N__41d32156_9_zz_try_cu_ee7f79604axpyILi128EEEvNS1_1PE";
const verbose = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '${symbol}' for 'sm_90a'
ptxas info    : Function properties for ${symbol}
    40 bytes stack frame, 24 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 2.347 ms
ptxas info    : Compiling entry function '${symbol}' for 'sm_75'
ptxas info    : Function properties for __internal_helper
    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
ptxas info    : Function properties for ${symbol}
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 376 bytes cmem[0]`;

// As ptxas 13.0.88 says it of a kernel that scales an accumulator between two wgmma of one group.
const registers = "wgmma.mma_async instructions are serialized due to insufficient register resources for the wgmma pipeline";
const injected = `ptxas info    : (C7517) warpgroup.wait is injected in around line 41 by compiler to allow use of registers defined by GMMA in function '${symbol}'`;

describe("parsing", () => {
	it("reads one entry a kernel and architecture", () => {
		expect(parseVerbose(verbose)).toEqual([
			{ symbol, arch: "sm_90a", registers: 168, stack: 40, spillStores: 24, spillLoads: 16, shared: 1024 },
			{ symbol, arch: "sm_75", registers: 32, stack: 0, spillStores: 0, spillLoads: 0, shared: 0 },
		]);
	});

	it("tells ptxas's lines from a compiler's messages", () => {
		const split = splitVerbose(`k.cu(3): warning #177-D: unused\n${verbose}\nptxas warning : something`) as {
			verbose: string;
			rest: string;
		};
		expect(split.verbose).toBe(verbose);
		expect(split.rest).toBe("k.cu(3): warning #177-D: unused\nptxas warning : something");
	});

	it("keeps remarks on serialised wgmma, however ptxas ranks them", () => {
		for (const rank of ["info   ", "warning"]) {
			const line = `ptxas ${rank} : (C7511) Potential Performance Loss: ${registers} in the function '${symbol}'`;
			expect(splitVerbose(`${line}\n${verbose}`)).toEqual({ verbose: `${line}\n${verbose}`, rest: "" });
			expect(parseLosses(`${verbose}\n${line}\n`)).toEqual([{ symbol, code: "C7511", reason: registers }]);
		}
		expect(parseLosses(`${injected}\n${verbose}`)).toEqual([]);
	});

	it("reads launch bounds from PTX", () => {
		const ptx = `.version 9.0
.visible .entry _Z1av(
)
{ ret; }
.entry _Z1bP1x(
	.param .align 8 .b8 _Z1bP1x_param_0[24]
)
.maxntid 16, 8, 1
.minnctapersm 2
{
	.reg .pred %p<2>;
}
.weak .entry _Z1cv()
.reqntid 64
{ ret; }`;
		expect(parseBounds(ptx)).toEqual({ _Z1av: [0, 0], _Z1bP1x: [128, 2], _Z1cv: [64, 0] });
	});
});

describe("names", () => {
	it("are free of what changes from build to build", () => {
		expect(stableSymbol(symbol)).toBe("_ZN7fintune4cuda12_GLOBAL__N_14axpyILi128EEEvNS1_1PE");
		expect(stableSymbol("_Z3fooi")).toBe("_Z3fooi");
		expect(readableNames([symbol])).toEqual(["axpy<128>"]);
	});

	it("keep template arguments and lose namespaces, return type and parameters", () => {
		expect(readableName("void fintune::cuda::(anonymous namespace)::f<fintune::bf16, 64, (bool)1>(fintune::cuda::P)")).toBe(
			"f<bf16, 64, (bool)1>",
		);
		expect(readableName("plain(int)")).toBe("plain");
	});
});

it("counts the blocks an SM holds", () => {
	// Threads allow 2048 / 256 on Hopper, 1024 / 256 on Turing.
	expect(blocksPerMultiprocessor("sm_90a", 256, 32)).toBe(8);
	expect(blocksPerMultiprocessor("sm_75", 256, 32)).toBe(4);
	// 168 registers: 3 warps a quarter of the SM, 12 in all: one block of 8 warps, three of 4.
	expect(blocksPerMultiprocessor("sm_90a", 256, 168)).toBe(1);
	expect(blocksPerMultiprocessor("sm_90a", 128, 168)).toBe(3);
	// 128 registers: exactly 4 a quarter.
	expect(blocksPerMultiprocessor("sm_80", 128, 128)).toBe(4);
	expect(blocksPerMultiprocessor("sm_80", 128, 129)).toBe(3);
	expect(blocksPerMultiprocessor("sm_80", 32, 16)).toBe(32);
	expect(blocksPerMultiprocessor("sm_80", 0, 16)).toBeUndefined();
	expect(blocksPerMultiprocessor("sm_999", 128, 16)).toBeUndefined();
});

describe("the report", () => {
	const bounds = { sm_90a: { [symbol]: [128, 2] }, sm_75: { [symbol]: [128, 2] } };
	const kernels = kernelsOf({ verbose, bounds });
	const files = { "try.cu": kernels };

	it("names facts, without those that are 0", () => {
		expect(kernels).toEqual({
			"axpy<128>": {
				sm_90a: {
					registers: 168,
					stack: 40,
					spillStores: 24,
					spillLoads: 16,
					shared: 1024,
					threads: 128,
					minBlocks: 2,
					blocks: 3,
				},
				sm_75: { registers: 32, threads: 128, minBlocks: 2, blocks: 8 },
			},
		});
	});

	it("is written one line a kernel and architecture, and read back equal", () => {
		const text = render("13.0.88", files) as string;
		expect(JSON.parse(text)).toEqual({ nvcc: "13.0.88", files });
		expect(text).toContain('"sm_75": {"registers": 32, "threads": 128, "minBlocks": 2, "blocks": 8},\n');
	});

	it("tells overloads apart", () => {
		const both = ["_Z1fi", "_Z1ff"].flatMap((name) => [
			`ptxas info    : Compiling entry function '${name}' for 'sm_80'`,
			"ptxas info    : Used 8 registers",
		]);
		expect(Object.keys(kernelsOf({ verbose: both.join("\n"), bounds: {} }))).toEqual(["f", "f #2"]);
	});

	/** The comparison when one kernel has changed. */
	const compared = (change: Record<string, number>): string[] => {
		const now = structuredClone(files) as typeof files;
		Object.assign(now["try.cu"]["axpy<128>"].sm_75, change);
		return compare(now, files) as string[];
	};

	it("accepts what is equal or better", () => {
		expect(compare(files, files)).toEqual([]);
		expect(compared({ registers: 40 })).toEqual([]);
		expect(compared({ registers: 16, blocks: 16 })).toEqual([]);
	});

	it("refuses spills, stack, and fewer blocks", () => {
		expect(compared({ spillStores: 8 })).toEqual(["try.cu: axpy<128>, sm_75: spills 8 bytes, 0 recorded"]);
		expect(compared({ stack: 64 })).toEqual(["try.cu: axpy<128>, sm_75: stack of 64 bytes, 0 recorded"]);
		expect(compared({ registers: 66, blocks: 6 })).toEqual([
			"try.cu: axpy<128>, sm_75: 6 blocks an SM (66 registers), 8 recorded (32 registers)",
		]);
	});

	it("refuses serialised wgmma, recorded or not", () => {
		const loss = `ptxas info    : (C7511) Potential Performance Loss: ${registers} in the function '${symbol}'`;
		const reports = [
			{ name: "good.cu", verbose: `${injected}\n${verbose}` },
			{ name: "try.cu", verbose: `${injected}\n${loss}\n${verbose}` },
		];
		expect(serialised(reports)).toEqual([`try.cu: axpy<128>: ${registers} (C7511)`]);
	});

	it("refuses what is not recorded, and records of what is gone", () => {
		expect(compare(files, {})).toHaveLength(2);
		expect(compare({}, files)[0]).toContain("recorded, but not in this build");
	});
});
