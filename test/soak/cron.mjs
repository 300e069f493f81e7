/**
 * A real cron fires configs/smoke.yaml every minute, ten times, each run being longer than a minute, the date changing with
 * every third firing: as `fintune schedule cron` prints the line, with cron's own environment and no terminal, in a folder
 * whose name has a blank and a %. Every date must be run once, by one of its firings; the others must say "try again" or
 * find nothing to do; and what cron would mail must be the result alone. Prints a summary as JSON and exits 0 only if all
 * that held. Twelve minutes. Uses the cron daemon that runs, or starts one (root); needs a user without a crontab. Where
 * there is no cron at all, a loop fires `env -i setsid sh -c LINE` and the summary says so.
 *   npm run build && node test/soak/cron.mjs [FIRINGS]
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { journalOf, lasting, pipeline, printed, stages } from "./long_smoke.mjs";

const firings = Number(process.argv[2] ?? 10);
/** A run is to take so long, so that the next firing meets it. */
const runSeconds = 80;
const minutesPerDate = 3;

const base = mkdtempSync(join(tmpdir(), "fintune-cron-"));
const work = join(base, "runs of 100%");
const records = join(base, "records");
mkdirSync(work);
mkdirSync(records);
const faults = [];
const expect = (held, fault) => {
	if (!held) faults.push(fault);
};
const sh = (program, args, options = {}) => spawnSync(program, args, { encoding: "utf8", ...options });
const here = (program) => sh("sh", ["-c", `command -v ${program}`]).status === 0;
const tell = (text) => process.stderr.write(`${text}\n`);

/**
 * In the place of the shell: cron starts it as `SHELL -c COMMAND`. It writes down what it was given and what the command
 * printed, which is what cron would mail.
 */
function recorder() {
	const path = join(base, "recorder");
	writeFileSync(
		path,
		`#!/bin/sh
at=$(date +%s)
env | cut -d= -f1 | sort > "${records}/$at.environment"
{ [ -t 0 ] && echo stdin; [ -t 1 ] && echo stdout; [ -t 2 ] && echo stderr; } > "${records}/$at.terminals"
/bin/sh "$@" > "${records}/$at.out" 2> "${records}/$at.err"
echo $? > "${records}/$at.status"
`,
		{ mode: 0o755 },
	);
	return path;
}

/** The printed lines, with a date that changes every few minutes and the recorder as the shell. */
function crontab() {
	const lines = printed("cron", [pipeline, "--every", "1m", "--", ...lasting(runSeconds)], work);
	const day = `$(( $(date +\\%s) / ${60 * minutesPerDate} \\% 10000 ))`;
	return lines
		.replace("SHELL=/bin/sh", () => `SHELL=${recorder()}`)
		.replace("--as-of today", () => `--as-of "$(date -d "2026-01-01 + ${day} days" +\\%F)"`);
}

const finished = () => readdirSync(records).filter((name) => name.endsWith(".status"));
const begun = () => readdirSync(records).filter((name) => name.endsWith(".environment"));

async function untilFired(stop) {
	while (begun().length < firings) await sleep(500);
	stop();
	while (finished().length < begun().length) await sleep(500);
}

/** @returns what fired */
async function fire(tab) {
	if (!here("cron") || !here("crontab")) {
		// What cron does with a line: five fields, and \% for %.
		const line = tab.trimEnd().split("\n").at(-1).split(" ").slice(5).join(" ").replaceAll("\\%", "%");
		const path = /^PATH=(.*)$/m.exec(tab)[1];
		const timer = setInterval(() => {
			if (begun().length >= firings || new Date().getSeconds() !== 0) return;
			spawn("env", ["-i", `PATH=${path}`, "setsid", join(base, "recorder"), "-c", line], { cwd: "/", stdio: "ignore" });
		}, 1000);
		await untilFired(() => clearInterval(timer));
		return "a loop (there is no cron here)";
	}
	if (sh("crontab", ["-l"]).status === 0) throw new Error("this user has a crontab, which would be replaced: take another user");
	const file = join(base, "crontab");
	writeFileSync(file, tab);
	const installed = sh("crontab", [file]);
	if (installed.status !== 0) throw new Error(`crontab: ${installed.stderr}`);
	const remove = () => sh("crontab", ["-r"]);
	process.once("exit", remove);
	// Only now: cron passes over a crontab that is as young as its own start, to the second.
	const daemon = sh("pgrep", ["-x", "cron"]).status === 0 ? undefined : spawn("cron", ["-f"], { stdio: "ignore" });
	await untilFired(remove);
	daemon?.kill();
	return `cron (${daemon ? "started for this" : "the machine's own"})`;
}

/** One firing, as recorded. */
function firing(at) {
	const read = (what) => readFileSync(join(records, `${at}.${what}`), "utf8");
	const [status, stdout, stderr] = [Number(read("status")), read("out"), read("err")];
	const when = new Date(at * 1000).toISOString();
	expect([0, 75].includes(status), `${when}: status ${status}`);
	expect(stderr === "", `${when}: stderr would be mailed: ${stderr.slice(0, 200)}`);
	expect(status === 0 || stdout === "", `${when}: status ${status}, and this would be mailed: ${stdout.slice(0, 200)}`);
	expect(!/[\u001b\r]/.test(stdout), `${when}: control characters would be mailed`);
	expect(status !== 0 || /^done: .*report\.html$/m.test(stdout), `${when}: no result on stdout: ${stdout.slice(0, 200)}`);
	expect(read("terminals") === "", `${when}: a terminal: ${read("terminals")}`);
	return { time: when, status, mailed_bytes: stdout.length, environment: read("environment").trim().split("\n") };
}

/** What the folder of one date tells: each stage begun and done once, and by whom it was found later. */
function dateOf(name) {
	const folder = join(work, "runs", "smoke", name);
	const events = journalOf(folder);
	const of = (kind) => events.filter((event) => event.event === kind);
	expect(
		of("started")
			.map((e) => e.stage)
			.join() === stages.join(),
		`${name}: begun: ${of("started").map((e) => e.stage)}`,
	);
	expect(
		of("done")
			.map((e) => e.stage)
			.join() === stages.join(),
		`${name}: done: ${of("done").map((e) => e.stage)}`,
	);
	expect(JSON.parse(readFileSync(join(folder, "result.json"), "utf8")).status === "done", `${name}: not done`);
	const [first, last] = [of("run")[0], of("finished")[0]];
	return {
		date: name,
		seconds: Math.round((Date.parse(last.time) - Date.parse(first.time)) / 1000),
		runs: of("run").length,
		found_done: of("finished").length - 1,
	};
}

try {
	const tab = crontab();
	tell(tab);
	const scheduler = await fire(tab);
	const all = finished()
		.map((name) => Number(name.split(".")[0]))
		.sort((a, b) => a - b)
		.map(firing);
	const dates = readdirSync(join(work, "runs", "smoke"))
		.sort()
		.map(dateOf);
	const count = (status) => all.filter((one) => one.status === status).length;
	expect(all.length === firings, `${all.length} firings`);
	expect(count(75) > 0, "no firing met a run in progress");
	expect(
		dates.some((date) => date.found_done > 0),
		"no firing found its date done",
	);
	const log = readFileSync(join(work, "smoke.log"), "utf8");
	const summary = {
		scheduler,
		firings: all.length,
		done: count(0),
		try_again: count(75),
		log_bytes: log.length,
		dates,
		all,
		faults,
	};
	process.stdout.write(`${JSON.stringify(summary, null, 2)}\n`);
} catch (error) {
	faults.push(error.message);
	tell(
		`${error.stack}\n${existsSync(join(work, "smoke.log")) ? readFileSync(join(work, "smoke.log"), "utf8").slice(-2000) : ""}`,
	);
} finally {
	rmSync(base, { recursive: true, force: true });
}
process.exitCode = faults.length === 0 ? 0 : 1;
