/**
 * Memory that this process may still take: what the host has, and what the limits of its cgroups leave of it (v2
 * `memory.max`, v1 `memory.limit_in_bytes`).
 * @module
 */
import { freemem, totalmem } from "node:os";
import { join } from "node:path";
import { cgroupFolders, type ReadText, readText } from "./cgroup.js";

export interface HostMemory {
	/** Bytes that can be taken before the kernel has to kill somebody; swap is not counted. */
	available: number;
	/** The most that there can be: the host's memory, or the smallest limit. */
	total: number;
}

/** Names of a cgroup's files, by version; cached file pages and what the kernel can give back count as free, as in MemAvailable. */
const names = {
	1: { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", freed: ["total_inactive_file", "total_active_file"] },
	2: { limit: "memory.max", used: "memory.current", freed: ["inactive_file", "active_file", "slab_reclaimable"] },
} as const;

export function hostMemory(read: ReadText = readText): HostMemory {
	const meminfo = read("/proc/meminfo") ?? "";
	const kilobytes = (name: string): number | undefined => number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(meminfo)?.[1]);
	const bytes = (name: string, otherwise: () => number): number => {
		const found = kilobytes(name);
		return found === undefined ? otherwise() : found * 1024;
	};
	// free(1)'s "available" counts cache that can be given back, which os.freemem leaves out.
	const memory = { available: bytes("MemAvailable", freemem), total: bytes("MemTotal", totalmem) };
	for (const { version, folder } of cgroupFolders("memory", undefined, read)) {
		const { limit, used, freed } = names[version];
		const most = number(read(join(folder, limit)));
		const now = number(read(join(folder, used)));
		if (most === undefined || now === undefined) continue;
		const stat = new Map(
			(read(join(folder, "memory.stat")) ?? "").split("\n").map((line) => line.split(" ") as [string, string]),
		);
		const given = freed.reduce((sum, name) => sum + (number(stat.get(name)) ?? 0), 0);
		memory.available = Math.min(memory.available, Math.max(0, most - now + Math.min(now, given)));
		memory.total = Math.min(memory.total, most);
	}
	return memory;
}

/** "max", and what is not there, is no number. */
function number(text: string | undefined): number | undefined {
	const value = Number(text?.trim() || Number.NaN);
	return Number.isFinite(value) ? value : undefined;
}
