/**
 * What `fintune schedule` prints, held against the programs that read it: systemd-analyze, bash, and cron's own rules.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parsePipeline } from "../../src/pipeline/config.js";
import { cronLines } from "../../src/pipeline/schedule/cron.js";
import { cronFields, dailyAt, everyTime, type ScheduledJob, scheduledJob, shellWords } from "../../src/pipeline/schedule/job.js";
import { scrontabLines, slurmScript } from "../../src/pipeline/schedule/slurm.js";
import { serviceUnit, timerUnit } from "../../src/pipeline/schedule/systemd.js";
import { fintune, lines, main, put } from "../cli/cli.js";
import { pipelineText } from "./tiny.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-schedule-"));
	put(join(dir, "p.yaml"), pipelineText([{ name: "final", type: "evaluate", tasks: ["ner"] }], { model: "tiny" }));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Whether a program is here. */
const here = (program: string): boolean => spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

/** Prints the words it is started with, one a line, and ends with $STATUS. */
const echo = (): string =>
	put(
		join(dir, "echo words.cjs"),
		"console.log(process.argv.slice(2).join('\\n'), process.cwd(), process.env.PATH); process.exitCode = Number(process.env.STATUS ?? 0);",
	);
const words = ["it's", "100%", 'a "b"', "$HOME", "back\\slash", "--set", "x=1"];
/** A job with every character that some scheduler gives a meaning. */
const job = (more: Partial<ScheduledJob> = {}): ScheduledJob => ({
	name: "nightly",
	command: [process.execPath, echo(), ...words],
	folder: dir,
	environment: { PATH: "/usr/bin:/bin", FINTUNE_DATA: "/data/50% of it" },
	timing: { hour: 2, minute: 30 },
	limited: false,
	log: join(dir, "it's 100%.log"),
	stop: { seconds: 300, why: "no checkpoint was measured yet" },
	...more,
});

describe("times", () => {
	it("are those that every scheduler can keep", () => {
		expect(dailyAt("02:30")).toEqual({ hour: 2, minute: 30 });
		for (const bad of ["24:00", "2.30", "noon", "02:60"]) expect(() => dailyAt(bad)).toThrow(/is no time of day/);
		expect(cronFields(dailyAt("02:30"))).toBe("30 2 * * *");
		expect(["1m", "15m", "60m", "1h", "6h", "24h"].map((text) => cronFields(everyTime(text)))).toEqual([
			"* * * * *",
			"*/15 * * * *",
			"0 * * * *",
			"0 * * * *",
			"0 */6 * * *",
			"0 0 * * *",
		]);
		for (const bad of ["0m", "7m", "90m", "5h", "2d", "15"]) expect(() => everyTime(bad)).toThrow(/is not possible/);
	});
});

describe("a job", () => {
	const pipeline = () => parsePipeline(readFileSync(join(dir, "p.yaml"), "utf8"), join(dir, "p.yaml"));

	it("has absolute paths, a date, and of the environment what fintune reads but no token", async () => {
		const env = { FINTUNE_DATA: "/data", HF_TOKEN: "secret", HF_HOME: "", EDITOR: "vi" };
		const made = await scheduledJob(pipeline(), dailyAt("02:30"), ["--max-runtime", "4h"], { env });
		expect(made.command).toEqual([process.execPath, main, "run", join(dir, "p.yaml"), "--as-of", "today", "--max-runtime", "4h"]);
		expect(Object.keys(made.environment)).toEqual(["PATH", "FINTUNE_DATA"]);
		expect(made.environment.PATH!.split(":")[0]).toBe(dirname(process.execPath));
		expect(made.stop).toEqual({ seconds: 300, why: "no checkpoint was measured yet" });
	});

	it("takes the time to stop from the newest run that has saved", async () => {
		const out = join(dir, "measured");
		for (const [run, seconds] of [
			["old", 900],
			["new", 100],
		] as const) {
			put(join(out, run, "config.resolved.yaml"), "name: small\n");
			const time = run === "old" ? "2026-01-01T00:00:00Z" : "2026-02-01T00:00:00Z";
			put(
				join(out, run, "journal.jsonl"),
				lines([
					{ time, event: "checkpoint", seconds },
					{ time, event: "checkpoint", seconds: 1 },
				]),
			);
		}
		const { stop, command } = await scheduledJob(pipeline(), dailyAt("02:30"), [], { out });
		expect(stop.seconds).toBe(560);
		expect(stop.why).toBe(`the slowest of 2 checkpoints of ${join(out, "new")} took 100.0 s`);
		expect(command).toContain(out);
	});

	it("that is over at a deadline waits for the next start, and is started once a day", async () => {
		const at = dailyAt("02:30");
		expect((await scheduledJob(pipeline(), at, [])).limited).toBe(false);
		expect((await scheduledJob(pipeline(), at, ["--deadline=06:30"])).limited).toBe(true);
		expect((await scheduledJob(pipeline(), everyTime("1h"), ["--max-runtime", "50m"])).limited).toBe(true);
		await expect(scheduledJob(pipeline(), everyTime("1h"), ["--deadline", "06:30"])).rejects.toMatchObject({ code: "E_USAGE" });
	});

	it("refuses what no scheduler can write down", async () => {
		await expect(scheduledJob(pipeline(), dailyAt("02:30"), ["a\nb"])).rejects.toMatchObject({ code: "E_USAGE" });
	});
});

describe("crontab lines", () => {
	/** What cron does with the command field: a bare % ends it, \% is a %. */
	const command = (text: string): string => {
		const line = text.trimEnd().split("\n").at(-1)!;
		const field = line.split(" ").slice(5).join(" ");
		expect(field).not.toMatch(/(?<!\\)%/);
		return field.replaceAll("\\%", "%");
	};
	const fire = (text: string, status = 0) =>
		spawnSync("env", ["-i", `STATUS=${status}`, "/bin/sh", "-c", command(text)], { encoding: "utf8", cwd: "/" });

	it("start the command with every word as it was, in its folder, without an environment", () => {
		const fired = fire(cronLines(job()));
		expect(fired.stderr).toBe("");
		expect(fired.stdout.split("\n").slice(0, words.length - 1)).toEqual(words.slice(0, -1));
		expect(fired.stdout).toContain(dir);
		expect(fired.status).toBe(0);
	});

	it("set shell and PATH, and quote values", () => {
		const text = cronLines(job({ timing: { everyMinutes: 15 } }));
		expect(text).toContain("\nSHELL=/bin/sh\nPATH=/usr/bin:/bin\n");
		expect(text).toContain('\nFINTUNE_DATA="/data/50% of it"\n');
		expect(text).toMatch(/\n\*\/15 \* \* \* \* cd /);
	});

	it("hand on the status; the end of the log is mailed with it, but for 75", () => {
		const log = join(dir, "it's 100%.log");
		const failing = put(join(dir, "fail.sh"), "echo progress >&2; echo reason >&2; exit $STATUS\n");
		const text = cronLines(job({ command: ["/bin/sh", failing] }));
		expect(fire(text, 65)).toMatchObject({ status: 65, stdout: "progress\nreason\n", stderr: "" });
		expect(fire(text, 75)).toMatchObject({ status: 75, stdout: "", stderr: "" });
		expect(readFileSync(log, "utf8")).toBe("progress\nreason\n".repeat(2));
	});

	it.skipIf(!here("crontab"))("are taken by crontab where it can check without installing", (context) => {
		const file = put(join(dir, "tab"), cronLines(job()));
		const help = spawnSync("crontab", ["-h"], { encoding: "utf8" });
		// Debian's cron, and cronie.
		const check = /^\s*-n\s.*dry run/m.test(help.stderr) ? "-n" : /^\s*-T\s/m.test(help.stderr) ? "-T" : undefined;
		if (check === undefined) return context.skip();
		const { status, stderr } = spawnSync("crontab", [check, file], { encoding: "utf8" });
		expect(status, stderr).toBe(0);
		const broken = put(join(dir, "broken"), "61 2 * * * true\n");
		expect(spawnSync("crontab", [check, broken]).status).not.toBe(0);
	});
});

describe("systemd units", () => {
	it("say how to stop, when to start again, and when not to", () => {
		const text = serviceUnit(job({ stop: { seconds: 560, why: "measured" } }), { user: "ann" });
		for (const line of [
			"User=ann",
			"KillMode=mixed",
			"RestartForceExitStatus=75",
			"RestartPreventExitStatus=64 65 66 69 70 73 77 78",
			"TimeoutStopSec=560",
			'Environment="FINTUNE_DATA=/data/50%% of it"',
		]) {
			expect(text.split("\n")).toContain(line);
		}
		expect(timerUnit(job()).split("\n")).toEqual(expect.arrayContaining(["OnCalendar=*-*-* 02:30:00", "Persistent=true"]));
		expect(serviceUnit(job(), "own")).not.toContain("User=");
		expect(serviceUnit(job({ limited: true }), "own")).not.toContain("RestartForceExitStatus");
	});

	it.skipIf(!here("systemd-analyze"))("are valid to systemd-analyze", () => {
		const service = put(join(dir, "fintune-nightly.service"), serviceUnit(job(), { user: "root" }));
		const timer = put(join(dir, "fintune-nightly.timer"), timerUnit(job()));
		const { status, stderr } = spawnSync("systemd-analyze", ["verify", service, timer], { encoding: "utf8" });
		expect(stderr).toBe("");
		expect(status).toBe(0);
		for (const every of ["1m", "15m", "1h", "6h", "24h"]) {
			const [, calendar] = /OnCalendar=(.*)/.exec(timerUnit(job({ timing: everyTime(every) })))!;
			expect(spawnSync("systemd-analyze", ["calendar", calendar!]).status, calendar).toBe(0);
		}
	});
});

describe.skipIf(!here("bash"))("a Slurm script", () => {
	/** Runs it with an scontrol that tells what it was called with. */
	const bash = (text: string, then: (pid: number) => void = () => {}) => {
		const script = put(join(dir, "job.sh"), text);
		put(join(dir, "bin", "scontrol"), `#!/bin/sh\necho "$@" >> ${join(dir, "scontrol.log")}\n`);
		rmSync(join(dir, "scontrol.log"), { force: true });
		spawnSync("chmod", ["+x", join(dir, "bin", "scontrol")]);
		return new Promise<{ status: number | null; requeued: string }>((done) => {
			const child = spawnBash(script);
			child.stdout.once("data", () => then(child.pid!));
			child.on("close", (status) =>
				done({ status, requeued: existsSync(join(dir, "scontrol.log")) ? readFileSync(join(dir, "scontrol.log"), "utf8") : "" }),
			);
		});
	};
	const spawnBash = (script: string) =>
		spawn("bash", [script], {
			env: { SLURM_JOB_ID: "42", PATH: `${join(dir, "bin")}:/usr/bin:/bin` },
			stdio: ["ignore", "pipe", "inherit"],
		});
	/** Ends half a second after SIGTERM with this status, as a run that saves. */
	const saver = (status: number): string[] => [
		process.execPath,
		"-e",
		`process.on("SIGTERM", () => setTimeout(() => process.exit(${status}), 500)); setInterval(() => {}, 1000); console.log("up");`,
	];

	it("is valid to bash, and starts every word as it was", async () => {
		const script = put(join(dir, "words.sh"), slurmScript(job()));
		expect(spawnSync("bash", ["-n", script], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
		const { stdout, status } = spawnSync("bash", [script], { encoding: "utf8" });
		expect(stdout.split("\n").slice(0, words.length - 1)).toEqual(words.slice(0, -1));
		expect(status).toBe(0);
		expect(slurmScript(job())).toContain("#SBATCH --signal=B:USR1@300\n#SBATCH --requeue\n#SBATCH --dependency=singleton\n");
	});

	it("at the end of its time hands the signal on, waits for the save and goes back into the queue", async () => {
		const ended = await bash(slurmScript(job({ command: saver(75) })), (pid) => process.kill(pid, "SIGUSR1"));
		expect(ended).toEqual({ status: 75, requeued: "requeue 42\n" });
	});

	it("stays out of the queue where it is cancelled, and where the run ended otherwise", async () => {
		const cancelled = await bash(slurmScript(job({ command: saver(75) })), (pid) => process.kill(pid, "SIGTERM"));
		expect(cancelled).toEqual({ status: 75, requeued: "" });
		const done = await bash(slurmScript(job({ command: saver(0) })), (pid) => process.kill(pid, "SIGUSR1"));
		expect(done).toEqual({ status: 0, requeued: "" });
		expect(await bash(slurmScript(job({ command: ["/bin/sh", "-c", "exit 66"] })))).toEqual({ status: 66, requeued: "" });
	});

	it("has lines for scrontab", () => {
		const text = scrontabLines(job(), "/home/ann/job.sh");
		expect(text).toContain("#SCRON --dependency=singleton\n");
		expect(text).toMatch(/\n30 2 \* \* \* \/home\/ann\/job\.sh\n$/);
	});
});

describe("fintune schedule", () => {
	it("prints the text alone on stdout; hints go to stderr", async () => {
		const printed = await fintune(["schedule", "cron", "p.yaml", "--every", "15m", "--", "--catch-up", "last"], { cwd: dir });
		expect(printed.status).toBe(0);
		expect(printed.stdout.trimEnd().split("\n").at(-1)).toBe(
			`*/15 * * * * cd ${dir} && { ${shellWords([process.execPath, main, "run", join(dir, "p.yaml")])} --as-of today --catch-up last 2>>${dir}/small.log || { s=$?; [ $s = 75 ] || tail -n 5 ${dir}/small.log; exit $s; }; }`,
		);
		expect(printed.stderr).toContain("crontab -e");
	});

	it("prints units one by one, and both", async () => {
		const both = await fintune(["schedule", "systemd", "p.yaml", "--user"], { cwd: dir });
		const service = await fintune(["schedule", "systemd", "p.yaml", "--user", "--unit", "service"], { cwd: dir });
		const timer = await fintune(["schedule", "systemd", "p.yaml", "--user", "--unit", "timer"], { cwd: dir });
		expect(both.stdout).toBe(`# fintune-small.service\n${service.stdout}\n# fintune-small.timer\n${timer.stdout}`);
		expect(both.stderr).toContain("loginctl enable-linger");
	});

	it("checks the pipeline, and takes one time only", async () => {
		expect((await fintune(["schedule", "slurm", "nowhere.yaml"], { cwd: dir })).status).toBe(66);
		expect((await fintune(["schedule", "cron", "p.yaml", "--at", "02:30", "--every", "1h"], { cwd: dir })).status).toBe(64);
	});
});
