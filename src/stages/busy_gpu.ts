/**
 * A GPU whose memory other processes hold: a run waits for it as long as it would wait for its folder, and then asks to be
 * started again, where a GPU that is simply too small is an error to be put right.
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { deviceMemory, resolveDevice } from "../engine/device.js";
import type { Model } from "../engine/model.js";
import { FintuneError } from "../errors.js";
import { formatBytes } from "../report/numbers.js";
import type { StageContext } from "./context.js";

/** Less than this share of a GPU held by others is no reason to wait; a driver takes some for itself. */
const busyShare = 0.1;
const pollMs = 5000;

/**
 * Does something that takes memory, again and again while it does not fit because others hold the GPU's.
 * @param own bytes that this process holds there
 * @throws FintuneError E_BUSY once the time to wait is over, E_ABORTED; whatever else the attempt throws
 */
export async function whenMemoryIsFree<T>(
	context: Pick<StageContext, "name" | "log" | "now" | "signal" | "waitSeconds">,
	device: string,
	attempt: () => T | Promise<T>,
	own: () => number = () => 0,
): Promise<T> {
	const { name, log, now, signal, waitSeconds = 0 } = context;
	const deadline = now() + waitSeconds;
	for (let waiting = false; ; waiting = true) {
		try {
			return await attempt();
		} catch (error) {
			if (!(error instanceof FintuneError) || error.code !== "E_OUT_OF_MEMORY") throw error;
			const memory = deviceMemory(device);
			const others = memory === undefined ? 0 : memory.total - memory.free - own();
			if (memory === undefined || others < busyShare * memory.total) throw error;
			const held = `other processes hold ${formatBytes(others)} of its ${formatBytes(memory.total)}`;
			if (signal?.aborted) throw new FintuneError("E_ABORTED", "stopped while waiting for the GPU", { cause: signal.reason });
			if (now() >= deadline) {
				throw new FintuneError("E_BUSY", `${device} has too little free memory: ${held}`, {
					found: error.message,
					hint: "start again when they are done, or let the run wait for them: --wait 30m",
					cause: error,
				});
			}
			if (!waiting) log(`${name}: waiting for memory of ${device}: ${held}`);
			await sleep(Math.min(pollMs, 1000 * Math.max(0.001, deadline - now())), undefined, signal ? { signal } : {}).catch(
				() => undefined,
			);
		}
	}
}

/** The open model of the session, once there is memory for it. */
export const openWhenFree = (
	context: Parameters<typeof whenMemoryIsFree>[0] & Pick<StageContext, "session">,
	variant: Parameters<StageContext["session"]["model"]>[0] = {},
): Promise<Model> =>
	whenMemoryIsFree(context, resolveDevice(context.session.options.device).name, () => context.session.model(variant));
