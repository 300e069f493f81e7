import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// The clients (PEFT, TensorBoard) are five gigabytes: their tests run where a Python that has them is named
// (npm run test:clients). What those programs said once is kept as goldens, which every run compares with.
const withClients = process.env.FINTUNE_PEER_PYTHON !== undefined;

// Kernels are tested in an addon that has the device simt besides the CPU (scripts/build-native.mjs --simt): the same
// objects as the product's, and CUDA's kernels on the host.
const kernels = ["test/kernels/**/*.test.ts", "test/simt/**/*.test.ts"];
const simt = fileURLToPath(new URL("build/simt/fintune.node", import.meta.url));
const useSimt = process.env.FINTUNE_NATIVE === undefined && existsSync(simt);

export default defineConfig({
	test: {
		// Native code: one process a file, as vitest's own documentation advises.
		pool: "forks",
		maxWorkers: 2,
		testTimeout: 60_000,
		hookTimeout: 120_000,
		projects: [
			{
				extends: true,
				test: {
					name: "fintune",
					include: ["test/**/*.test.ts"],
					exclude: [...kernels, ...(withClients ? [] : ["test/clients/**"])],
				},
			},
			{
				extends: true,
				test: { name: "kernels", include: kernels, env: useSimt ? { FINTUNE_NATIVE: simt } : {} },
			},
		],
	},
});
