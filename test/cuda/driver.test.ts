/**
 * Drivers that are of no use, as the real CUDA runtime in the addon sees them: `fintune doctor` with fake_driver.c.
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gpuInfo, type NativeGpuInfo } from "../../src/engine/device.js";
import { fintune } from "../cli/cli.js";
import { root } from "../repository.js";

const { build } = gpuInfo();

describe.skipIf(!build)(
	`with a fake driver${build ? "" : " (needs an addon with CUDA: npm run cuda:toolchain, then npm run build)"}`,
	() => {
		let dir: string;
		beforeAll(() => {
			dir = mkdtempSync(join(tmpdir(), "fintune-fake-driver-"));
			const args = ["-x", "c", "-shared", "-fPIC", "-o", join(dir, "libcuda.so.1"), join(root, "test", "cuda", "fake_driver.c")];
			expect(spawnSync(process.env.CXX ?? "c++", args, { encoding: "utf8" }).stderr).toBe("");
		});
		afterAll(() => rmSync(dir, { recursive: true, force: true }));

		const reasons: [what: string, env: Record<string, string>, reason: RegExp][] = [
			[
				"is too old",
				{ FAKE_DRIVER_VERSION: "11040" },
				/the NVIDIA driver knows CUDA 11\.4, and this build needs CUDA .*: install driver \d+ or newer/,
			],
			["finds no GPU", {}, /the NVIDIA driver finds no GPU/],
			["is told to hide them", { CUDA_VISIBLE_DEVICES: "" }, /offers no GPU: CUDA_VISIBLE_DEVICES is ""/],
			["does not fit its kernel module", { FAKE_DRIVER_INIT: "803" }, /differ in version: reboot/],
			["is a stub", { FAKE_DRIVER_INIT: "34" }, /stub of a toolkit/],
		];
		for (const [what, more, reason] of reasons) {
			it(`that ${what}`, async () => {
				const env = { LD_LIBRARY_PATH: dir, FINTUNE_DEVICE: "auto", ...more };
				const { status, stdout } = await fintune(["doctor", "--json"], { env });
				expect(status).toBe(0);
				const { cuda, driver, devices } = JSON.parse(stdout) as {
					cuda: NativeGpuInfo;
					driver: { library: string };
					devices: string[];
				};
				expect(cuda.reason).toMatch(reason);
				expect(driver.library).toBe(join(dir, "libcuda.so.1"));
				expect(devices).toEqual(["cpu"]);
			});
		}

		it("is no reason to die", async () => {
			const env = { LD_LIBRARY_PATH: dir };
			const { status, stderr } = await fintune(["score", "--model", "tiny", "--input", "gone.jsonl", "--device", "cuda"], {
				env,
			});
			expect(status).toBe(69);
			expect(stderr).toMatch(/finds no GPU[\s\S]*E_DEVICE/);
		});
	},
);
