/**
 * `npm run cuda:toolchain`: installs nvcc from the Python registry's wheels into .cache/cuda (ignored by git; elsewhere with
 * FINTUNE_CUDA_TOOLCHAIN), for machines without a CUDA toolkit. Versions and hashes are pinned in cuda-toolchain.txt; a
 * finished installation is left as it is.
 */
import { spawnSync } from "node:child_process";
import {
	existsSync,
	lstatSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { arch, platform } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseVersion, toolchainFolder, toolchainNvcc } from "./cuda-toolkit.mjs";

const pins = join(dirname(fileURLToPath(import.meta.url)), "cuda-toolchain.txt");
const say = (message) => process.stderr.write(`fintune cuda:toolchain: ${message}\n`);

/** A failure with what to do about it; the program ends with status 69. */
class Refusal extends Error {}

function run(command, args) {
	const result = spawnSync(command, args, { encoding: "utf8", maxBuffer: 64 << 20 });
	return {
		status: result.status,
		missing: result.error?.code === "ENOENT",
		output: `${result.stdout ?? ""}${result.stderr ?? ""}`,
	};
}

/** @throws Refusal where no wheel of the compiler exists */
function checkPlatform() {
	const machine = `${platform()}-${arch()}`;
	if (machine !== "linux-x64" && machine !== "linux-arm64")
		throw new Refusal(`there is no CUDA compiler for ${machine}.\n  The CPU build needs none: npm run build`);
	if (!process.report.getReport().header.glibcVersionRuntime)
		throw new Refusal("the compiler's wheels need glibc, and this system has another C library.");
}

/** A command line that begins pip: the system's, or that of a virtual environment below `work`. */
function findPip(work) {
	const python = process.env.FINTUNE_PYTHON ?? "python3";
	const pip = run(python, ["-m", "pip", "--version"]);
	if (pip.missing) {
		throw new Refusal(
			`${python} was not found.\n  Install it: apt-get install python3 python3-venv (FINTUNE_PYTHON names another one)`,
		);
	}
	if (pip.status === 0) return [python, "-m", "pip"];
	const venv = run(python, ["-m", "venv", join(work, "venv")]);
	if (venv.status !== 0) {
		throw new Refusal(
			`${python} has neither pip nor a working venv.\n  Install one: apt-get install python3-venv, or python3-pip`,
		);
	}
	return [join(work, "venv", "bin", "python"), "-m", "pip"];
}

/** What pip's last words mean to somebody who wants a compiler. */
export function explainPip(output) {
	if (/DO NOT MATCH THE HASHES/i.test(output))
		return "a downloaded file is not the pinned one. Nothing was installed; try another network or mirror.";
	if (/No space left on device/i.test(output))
		return "the disk is full: about 600 MB are needed while installing, 280 MB afterwards.";
	if (
		/NewConnectionError|Name or service not known|name resolution|Connection (refused|reset)|timed out|ReadTimeout|ProxyError|Max retries/i.test(
			output,
		)
	)
		return "the Python registry cannot be reached. Check the network and proxy, or name a mirror: PIP_INDEX_URL=https://…";
	if (/CERTIFICATE_VERIFY_FAILED|SSLError/i.test(output))
		return "the registry's certificate is not trusted here. PIP_CERT=FILE names your own authority.";
	if (/No matching distribution found|Could not find a version/i.test(output))
		return "the registry (or mirror) has no wheel of the pinned version for this machine; pip older than 20.3 cannot read its names either.";
	return "pip failed.";
}

function installed() {
	const record = join(toolchainFolder, "pins.txt");
	if (!existsSync(record) || readFileSync(record, "utf8") !== readFileSync(pins, "utf8")) return undefined;
	const nvcc = toolchainNvcc();
	const result = run(nvcc, ["--version"]);
	return result.status === 0 ? { nvcc, version: parseVersion(result.output)?.text } : undefined;
}

/** Bytes of all files below a folder. */
function size(folder) {
	return readdirSync(folder).reduce((sum, name) => {
		const path = join(folder, name);
		const entry = lstatSync(path);
		return sum + (entry.isDirectory() ? size(path) : entry.isFile() ? entry.size : 0);
	}, 0);
}

function install() {
	checkPlatform();
	mkdirSync(dirname(toolchainFolder), { recursive: true });
	const work = mkdtempSync(join(dirname(toolchainFolder), "cuda-install-"));
	try {
		const target = join(work, basename(toolchainFolder));
		const [python, ...pip] = findPip(work);
		say("downloading about 100 MB of NVIDIA's compiler (licence: NVIDIA CUDA Toolkit EULA, in the packages)");
		const options = ["--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes", "--only-binary", ":all:"];
		const result = run(python, [...pip, "install", ...options, "--no-compile", "--target", target, "-r", pins]);
		if (result.status !== 0) {
			const last = result.output.trim().split("\n").slice(-4).join("\n    ");
			throw new Refusal(`${explainPip(result.output)}\n  pip said:\n    ${last}`);
		}
		const nvcc = toolchainNvcc(target);
		if (!existsSync(nvcc)) throw new Refusal(`the wheels hold no nvcc at ${nvcc.slice(target.length + 1)}.`);
		const toolkit = resolve(dirname(nvcc), "..");
		// The wheels have lib where a toolkit has lib64, and CMake's test of the compiler links from there.
		if (!existsSync(join(toolkit, "lib64"))) symlinkSync("lib", join(toolkit, "lib64"));
		writeFileSync(join(target, "pins.txt"), readFileSync(pins));
		rmSync(toolchainFolder, { recursive: true, force: true });
		renameSync(target, toolchainFolder);
	} finally {
		rmSync(work, { recursive: true, force: true });
	}
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
	try {
		const before = installed();
		if (!before) install();
		const now = before ?? installed();
		if (!now) throw new Refusal(`what was installed does not run: ${toolchainNvcc()}`);
		say(
			`${before ? "already there" : "installed"}: nvcc ${now.version}, ${Math.round(size(toolchainFolder) / 1e6)} MB in ${toolchainFolder}`,
		);
		process.stdout.write(`${now.nvcc}\n`);
	} catch (error) {
		say(error instanceof Refusal ? error.message : `${error.code ?? "failed"}: ${error.message}`);
		process.exitCode = error instanceof Refusal ? 69 : 74;
	}
}
