/**
 * What the tests of kernels on the warpgroups of an sm_90 share: that device, how often a kernel was come to, and that
 * benchmarks time it beside the one that it replaces.
 * @module
 */
import { afterAll, beforeEach, expect } from "vitest";
import type { OpBench, OpShape } from "../../src/bench/op.js";
import { benchesOf } from "../../src/bench/registry.js";
import { BenchTensors } from "../../src/bench/tensors.js";
import { devices } from "../../src/engine/device.js";
import { kernels } from "../../src/engine/kernels.js";

const { simt } = kernels;

/** Each test of the group begins with an sm_90 whose warpgroups may be used. */
export function useWarpgroups(): void {
	beforeEach(() => {
		simt?.reset();
		simt?.setCapability(90);
		kernels.setHopper(true);
	});
	afterAll(() => {
		simt?.reset();
		kernels.setHopper(false);
	});
}

/** How often threads have come to a site of that file. */
export const visitsOf = (name: string): number =>
	(simt?.sites() ?? []).filter(({ file }) => file === name).reduce((sum, site) => sum + site.visits, 0);

/** `run` comes to the file for heads of 64 and 128 columns (63 are copied into 64), on an sm_90 and when asked for only. */
export function expectServesHeads(file: string, run: (dim: number) => void): void {
	const visited = (dim: number): boolean => {
		const before = visitsOf(file);
		run(dim);
		return visitsOf(file) > before;
	};
	expect([64, 128, 63, 80, 96].map(visited)).toEqual([true, true, true, false, false]);
	kernels.setHopper(false);
	expect(visited(64)).toBe(false);
	kernels.setHopper(true);
	for (const capability of [80, 100, 120]) {
		simt?.setCapability(capability);
		expect(visited(64), `sm_${capability}`).toBe(false);
	}
}

/** Each pair of benchmarks times the usual kernel and that on warpgroups, whatever is chosen, on a device that has both. */
export function expectMeasuredBeside(file: string, pairs: readonly (readonly [OpBench, OpBench])[], shape: OpShape): void {
	const benches = () => benchesOf(devices().find(({ name }) => name === "simt") ?? {});
	expect(benches()).toEqual(expect.arrayContaining(pairs.map(([, hopper]) => hopper)));
	simt?.setCapability(100);
	for (const [, hopper] of pairs) expect(benches()).not.toContain(hopper);
	simt?.setCapability(90);
	kernels.setDevice("simt");
	kernels.setHopper(false);
	const tensors = new BenchTensors();
	try {
		const used = pairs.flat().map((bench) => {
			const op = bench.prepare(shape, "bf16", tensors);
			const before = visitsOf(file);
			op.run();
			return visitsOf(file) > before;
		});
		expect(used).toEqual(pairs.flatMap(() => [false, true]));
		expect(kernels.hopper()).toBe(false);
	} finally {
		tensors.dispose();
	}
}
