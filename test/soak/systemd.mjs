/**
 * A real systemd runs configs/smoke.yaml by the units that `fintune schedule systemd` prints: the timer starts it and leaves
 * it alone while it runs; a stop saves and is no failure; a run that was told to stop, or killed, is started again and goes
 * on; one that can only fail again is not. Prints a summary as JSON and exits 0 only if all that held. Twelve minutes. Needs
 * root and systemd as process 1, on the machine or in a container (systemd-nspawn --boot); units lie in /run and go again.
 *   npm run build && node test/soak/systemd.mjs
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { journalOf, lasting, pipeline, printed, root, stages } from "./long_smoke.mjs";

const work = mkdtempSync(join(tmpdir(), "fintune systemd 100%-"));
const file = join(work, "smoke.yaml");
const unit = "fintune-smoke";
/** A run is to take so long, so that its timer meets it. */
const runSeconds = 150;
const units = "/run/systemd/system";
const faults = [];
const steps = [];

function systemctl(...args) {
	const { status, stdout, stderr } = spawnSync("systemctl", args, { encoding: "utf8" });
	if (status !== 0 && args[0] !== "stop" && args[0] !== "start") throw new Error(`systemctl ${args.join(" ")}: ${stderr}`);
	return stdout;
}
/** Properties of the service. */
const show = () =>
	Object.fromEntries(
		systemctl("show", `${unit}.service`, "-p", "ActiveState,SubState,MainPID,ExecMainStatus,Result,NRestarts")
			.trim()
			.split("\n")
			.map((line) => line.split("=")),
	);
async function until(what, held, seconds = 400) {
	for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) if (held()) return;
	throw new Error(`${what}: not within ${seconds} s; ${JSON.stringify(show())}`);
}
function step(name, held, more = {}) {
	steps.push({ step: name, held, ...show(), ...more });
	process.stderr.write(`${held ? "held" : "BROKEN"}: ${name} ${JSON.stringify(steps.at(-1))}\n`);
	if (!held) faults.push(name);
}
const today = () => join(work, "runs", "smoke", new Date().toLocaleDateString("sv"));
const events = (kind) => (existsSync(join(today(), "journal.jsonl")) ? journalOf(today()).filter((e) => e.event === kind) : []);
/** What the run says of its end; systemd forgets a service that has ended well. */
const ended = () => JSON.parse(readFileSync(join(today(), "result.json"), "utf8")).status;
const training = () => events("checkpoint").some((e) => e.stage === "sft");
const inactive = () => ["inactive", "failed"].includes(show().ActiveState);
const anew = () => rmSync(today(), { recursive: true, force: true });

try {
	copyFileSync(pipeline, file);
	writeFileSync(file, readFileSync(file, "utf8").replace("../data/", `${root}/data/`));
	const args = [file, "--every", "1m", "--", ...lasting(runSeconds)];
	writeFileSync(join(units, `${unit}.service`), printed("systemd", ["--unit", "service", ...args], work));
	writeFileSync(join(units, `${unit}.timer`), printed("systemd", ["--unit", "timer", ...args], work));
	systemctl("daemon-reload");

	systemctl("start", `${unit}.timer`);
	await until("the timer starts the service", training);
	const { MainPID } = show();
	await sleep(65_000); // the timer elapses every minute
	step("a run in progress is left alone by its timer", show().MainPID === MainPID && events("run").length === 1);
	systemctl("stop", `${unit}.timer`);
	await until("the run ends", inactive);
	const runs = events("finished").length;
	step(
		"it ends well",
		runs === 1 && show().ActiveState === "inactive" && ended() === "done" && events("done").length === stages.length,
	);
	systemctl("start", `${unit}.service`);
	await until("it is started again", () => events("finished").length > runs && inactive());
	step(
		"started again, it finds nothing to do",
		show().ActiveState === "inactive" && ended() === "done" && events("done").length === stages.length,
	);

	anew();
	systemctl("start", `${unit}.service`);
	await until("it trains", training);
	await sleep(3_000); // some steps beyond the checkpoint
	const began = performance.now();
	systemctl("stop", `${unit}.service`);
	const seconds = (performance.now() - began) / 1000;
	const saved = events("checkpoint").some((e) => e.reason === "stopped");
	const stopped = show();
	step("systemctl stop saves, and is no failure", stopped.ActiveState === "inactive" && ended() === "stopped" && saved, {
		seconds,
	});

	systemctl("start", `${unit}.service`);
	await until("it goes on", () => events("resumed").length === 1);
	systemctl("kill", "--signal=TERM", "--kill-who=main", `${unit}.service`);
	await until("it stops", () => show().SubState === "auto-restart");
	step("told to stop by somebody else, it is to start again", show().ExecMainStatus === "75");
	await until("it is started again", () => events("resumed").length === 2);
	systemctl("kill", "--signal=KILL", "--kill-who=main", `${unit}.service`);
	await until("it is started once more", () => events("resumed").length === 3);
	await until("the run ends", inactive);
	const done = events("done").map((e) => e.stage);
	step("killed, it goes on to its end", show().ActiveState === "inactive" && ended() === "done" && done.join() === stages.join());

	writeFileSync(file, readFileSync(file, "utf8").replace("learning_rate", "lerning_rate"));
	systemctl("start", `${unit}.service`);
	await until("it fails", () => show().ActiveState === "failed");
	step("a mistake in the pipeline file is not tried again", show().ExecMainStatus === "78" && show().SubState === "failed");
} catch (error) {
	faults.push(error.message);
	process.stderr.write(`${error.stack}\n`);
} finally {
	systemctl("stop", `${unit}.timer`, `${unit}.service`);
	for (const kind of ["service", "timer"]) rmSync(join(units, `${unit}.${kind}`), { force: true });
	rmSync(work, { recursive: true, force: true });
}
const version = spawnSync("systemctl", ["--version"], { encoding: "utf8" }).stdout.split("\n")[0];
process.stdout.write(`${JSON.stringify({ version, steps, faults }, null, 2)}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
