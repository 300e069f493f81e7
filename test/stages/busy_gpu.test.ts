/** A GPU that other processes use: waiting, giving up with status 75, and what is no reason to wait. */
import { beforeEach, expect, test, vi } from "vitest";
import { FintuneError } from "../../src/errors.js";
import { whenMemoryIsFree } from "../../src/stages/busy_gpu.js";

const gib = 2 ** 30;
let memory: { free: number; total: number } | undefined;
vi.mock("../../src/engine/device.js", async (original) => ({
	...(await original<typeof import("../../src/engine/device.js")>()),
	deviceMemory: () => memory,
}));

const told: string[] = [];
let clock = 0;
beforeEach(() => {
	told.length = 0;
	clock = 0;
	memory = { free: 2 * gib, total: 80 * gib };
});
const context = { name: "sft", log: (line: string) => void told.push(line), now: () => clock++ };
const short = new FintuneError("E_OUT_OF_MEMORY", "a micro-batch of 4096 tokens does not fit");
const fails = () => {
	throw short;
};

test("without time to wait it is status 75, naming who holds the memory", async () => {
	await expect(whenMemoryIsFree(context, "cuda:0", fails)).rejects.toMatchObject({
		code: "E_BUSY",
		exitStatus: 75,
		message: expect.stringMatching(/other processes hold 78.0 GiB of its 80.0 GiB.*4096 tokens does not fit.*--wait 30m/s),
	});
});

test("it waits until there is room", async () => {
	let attempts = 0;
	const waiting = { ...context, now: () => ++clock / 1000, waitSeconds: 0.2 };
	const attempt = () => (++attempts < 3 ? fails() : "open");
	expect(await whenMemoryIsFree({ ...waiting, waitSeconds: 0.02 }, "cuda:0", attempt)).toBe("open");
	expect(told).toEqual([expect.stringMatching(/^sft: waiting for memory of cuda:0: other processes hold/)]);
});

test("a GPU that is too small, memory of our own, a CPU, and other errors are passed on", async () => {
	memory = { free: 76 * gib, total: 80 * gib };
	await expect(whenMemoryIsFree(context, "cuda:0", fails)).rejects.toBe(short);
	memory = { free: 2 * gib, total: 80 * gib };
	await expect(whenMemoryIsFree(context, "cuda:0", fails, () => 76 * gib)).rejects.toBe(short);
	memory = undefined;
	await expect(whenMemoryIsFree(context, "cpu", fails)).rejects.toBe(short);
	const other = new Error("other");
	await expect(whenMemoryIsFree(context, "cuda:0", () => Promise.reject(other))).rejects.toBe(other);
});

test("a stop while waiting is obeyed", async () => {
	const signal = AbortSignal.timeout(20);
	const waiting = { ...context, now: () => 0, waitSeconds: 3600, signal };
	await expect(whenMemoryIsFree(waiting, "cuda:0", fails)).rejects.toMatchObject({ code: "E_ABORTED" });
});
