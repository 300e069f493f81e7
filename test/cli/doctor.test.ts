/**
 * `fintune doctor` on this machine.
 * @module
 */
import { describe, expect, it } from "vitest";
import { fintune } from "./cli.js";

interface Doctor {
	addon: { kind: string; file: string; state: string; reason: string }[];
	driver: { version: string | null; library: string | null; deviceFile: string | null };
	cpu: { isa: string } | null;
	cuda: { build: { driverFloor: string } | null; gpus: unknown[]; reason: string | null } | null;
	devices: string[];
}

describe("doctor", () => {
	it("says which addon is in use and why, and what there is of CUDA", async () => {
		const { status, stdout, stderr } = await fintune(["doctor", "--json"]);
		expect(stderr).toBe("");
		expect(status).toBe(0);
		const doctor = JSON.parse(stdout) as Doctor;
		expect(doctor.addon.filter(({ state }) => state === "loaded")).toHaveLength(1);
		expect(doctor.devices[0]).toBe("cpu");
		expect(doctor.cuda?.reason === null).toBe(doctor.devices.length > 1);
		if (doctor.cuda?.build) expect(Number(doctor.cuda.build.driverFloor)).toBeGreaterThan(500);

		const text = await fintune(["doctor"]);
		expect(text.status).toBe(0);
		for (const line of [/^addon .*loaded, /m, /^cuda /m, /^driver /m, /^devices +cpu/m]) expect(text.stdout).toMatch(line);
	});

	it.each([
		[{ FINTUNE_DEVICE: "cuda:99" }, 69, /FINTUNE_DEVICE.*E_DEVICE/s],
		[{ FINTUNE_GEMM: "cublas" }, 64, /FINTUNE_GEMM.*own or cublaslt.*cublas/s],
		[{ FINTUNE_HOPPER: "yes" }, 64, /FINTUNE_HOPPER is 0 or 1, found yes/],
	])("says that %j cannot be met, and shows the rest", async (env, expected, words) => {
		const { status, stdout, stderr } = await fintune(["doctor"], { env });
		expect(status).toBe(expected);
		expect(stderr).toMatch(words);
		expect(stderr).not.toContain("    at ");
		expect(stdout).toMatch(/^devices +cpu/m);
	});

	it("ends with 69 where the addon does not load, and still shows the table", async () => {
		const { status, stdout, stderr } = await fintune(["doctor", "--json"], { env: { FINTUNE_NATIVE: "gone.node" } });
		expect(status).toBe(69);
		expect(stderr).toContain("E_NATIVE_MISSING");
		const doctor = JSON.parse(stdout) as Doctor;
		expect(doctor.addon).toMatchObject([
			{ kind: "override", file: expect.stringMatching(/^\/.*\/gone\.node$/) as string, state: "skipped" },
		]);
		expect([doctor.cpu, doctor.cuda, doctor.devices]).toEqual([null, null, []]);
	});
});
