/**
 * `npm run cuda:toolchain` with a stand-in for Python: what it installs, that it leaves a finished installation alone, and
 * what it says when it cannot.
 * @module
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
// @ts-expect-error a script without declarations
import { explainPip } from "../../scripts/cuda-toolchain.mjs";
import { root } from "../repository.js";

let dir: string;
let made = 0;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-toolchain-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A program that answers as the shell text says. */
function program(text: string): string {
	const file = join(dir, `python${++made}`);
	writeFileSync(file, `#!/bin/sh\n${text}\n`);
	chmodSync(file, 0o755);
	return file;
}

/** pip that puts a compiler where the wheels put it, and counts its runs. */
const goodPip = () =>
	program(`
[ "$3" = --version ] && exit 0
while [ "$1" != --target ]; do shift; done
toolkit="$2/nvidia/cu13"
mkdir -p "$toolkit/bin" "$toolkit/lib"
printf '#!/bin/sh\\necho "Cuda compilation tools, release 13.0, V13.0.88"\\n' >"$toolkit/bin/nvcc"
chmod +x "$toolkit/bin/nvcc"
echo run >>"${join(dir, "runs")}"`);

function toolchain(python: string, folder: string, env: Record<string, string> = {}) {
	const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "scripts", "cuda-toolchain.mjs")], {
		encoding: "utf8",
		env: { ...process.env, FINTUNE_PYTHON: python, FINTUNE_CUDA_TOOLCHAIN: folder, ...env },
	});
	return { status, stdout, stderr };
}

describe.runIf(process.platform === "linux")("cuda:toolchain", () => {
	it("installs once, with the link that CMake needs, and prints the compiler", () => {
		const folder = join(dir, "good", "cuda");
		const python = goodPip();
		const first = toolchain(python, folder);
		expect(first.stderr).toContain("installed: nvcc 13.0.88");
		expect(first.status).toBe(0);
		const nvcc = join(folder, "nvidia", "cu13", "bin", "nvcc");
		expect(first.stdout.trim()).toBe(nvcc);
		expect(lstatSync(join(folder, "nvidia", "cu13", "lib64")).isSymbolicLink()).toBe(true);
		expect(readdirSync(join(folder, ".."))).toEqual(["cuda"]);

		const second = toolchain(python, folder);
		expect(second.stderr).toMatch(/already there: nvcc 13\.0\.88, \d+ MB in /);
		expect(second.stdout.trim()).toBe(nvcc);
		expect(readFileSync(join(dir, "runs"), "utf8")).toBe("run\n");

		// One of other versions is replaced.
		writeFileSync(join(folder, "pins.txt"), "nvidia-cuda-nvcc==12.9.0\n");
		expect(toolchain(python, folder).stderr).toContain("installed: nvcc 13.0.88");
	});

	const refused: [what: string, python: () => string, words: (string | RegExp)[]][] = [
		["no Python", () => join(dir, "nothing"), ["nothing was not found", "apt-get install python3"]],
		["neither pip nor venv", () => program("exit 1"), ["neither pip nor a working venv", "python3-venv"]],
		[
			"no network",
			() => program('[ "$3" = --version ] || { echo "Temporary failure in name resolution" >&2; exit 1; }'),
			["cannot be reached", "PIP_INDEX_URL", "pip said"],
		],
		[
			"another file than the pinned one",
			() => program('[ "$3" = --version ] || { echo "THESE PACKAGES DO NOT MATCH THE HASHES" >&2; exit 1; }'),
			["not the pinned one"],
		],
		["wheels without a compiler", () => program(":"), ["hold no nvcc at nvidia/cu13/bin/nvcc"]],
	];
	for (const [what, python, words] of refused) {
		it(`refuses: ${what}; nothing is left behind`, () => {
			const parent = join(dir, `refused${++made}`);
			const { status, stdout, stderr } = toolchain(python(), join(parent, "cuda"));
			expect(status).toBe(69);
			expect(stdout).toBe("");
			for (const word of words) expect(stderr).toMatch(word);
			expect(stderr).not.toMatch(/^\s+at /m);
			expect(existsSync(parent) ? readdirSync(parent) : []).toEqual([]);
		});
	}

	it("says where it may not write", () => {
		const file = join(dir, "a-file");
		writeFileSync(file, "");
		const { status, stderr } = toolchain(goodPip(), join(file, "cuda"));
		expect(status).toBe(74);
		expect(stderr).toContain("a-file");
	});
});

it("explains what pip says", () => {
	expect(explainPip("OSError: [Errno 28] No space left on device")).toContain("disk is full");
	expect(explainPip("SSLError(SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED")).toContain("PIP_CERT");
	expect(explainPip("ERROR: No matching distribution found for nvidia-nvvm==13.0.88")).toContain("no wheel");
	expect(explainPip("something new")).toBe("pip failed.");
});
