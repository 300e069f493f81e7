/**
 * compute-sanitizer over the checks in small, by running the script again under it.
 */
import { spawnSync } from "node:child_process";

export const tools = ["memcheck", "racecheck", "initcheck", "synccheck"];
/** What the script ends with where the sanitizer found something; no exit status of its own. */
const found = 86;

/** The program, where it is on the PATH; a path is taken as it is. */
export function findSanitizer(program = "compute-sanitizer") {
	const { status, error } = spawnSync(program, ["--version"], { encoding: "utf8", timeout: 60_000 });
	return !error && status === 0 ? program : undefined;
}

/**
 * @param {{program: string, script: string, args: string[], onProgress?: (text: string) => void}} options
 *   args: of the script, which then checks in small
 */
export function checkSanitizer({ program, script, args, onProgress }) {
	return tools.map((tool) => {
		onProgress?.(tool);
		const command = ["--tool", tool, "--error-exitcode", String(found), process.execPath, script, ...args];
		const { status, signal, stdout, stderr } = spawnSync(program, command, {
			encoding: "utf8",
			maxBuffer: 2 ** 28,
			timeout: 3_600_000,
		});
		const lines = `${stdout}\n${stderr}`.split("\n").filter((line) => line.startsWith("========="));
		const summary = lines.findLast((line) => /SUMMARY/.test(line))?.replace(/^=+\s*/, "") ?? null;
		return { check: "sanitizer", tool, status: status ?? signal, summary, report: lines.slice(0, 40), ok: status === 0 };
	});
}
