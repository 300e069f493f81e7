/**
 * How many threads a process may keep busy: the CPUs of its affinity mask, and the quota of its cgroup.
 * @module
 */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { cgroupFolders, type ReadText, readText } from "./cgroup.js";

/**
 * CPUs' worth of time that the process's cgroup and those above it grant (v2 `cpu.max`, v1 `cpu.cfs_quota_us`).
 * @returns undefined where there is no quota
 */
export function cgroupCpuQuota(read: ReadText = readText): number | undefined {
	const quotas: number[] = [];
	const add = (quota: number, period: number) => {
		if (Number.isFinite(quota) && quota > 0 && period > 0) quotas.push(quota / period);
	};
	for (const { version, folder } of cgroupFolders("cpu", ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"], read)) {
		if (version === 2) {
			const [quota, period] = (read(join(folder, "cpu.max")) ?? "").trim().split(/\s+/);
			add(Number(quota), Number(period));
		} else {
			const quota = Number(read(join(folder, "cpu.cfs_quota_us")));
			add(quota, Number(read(join(folder, "cpu.cfs_period_us"))));
		}
	}
	return quotas.length > 0 ? Math.min(...quotas) : undefined;
}

/** CPUs of the affinity mask (`Cpus_allowed_list`), else what Node counts. */
export function affinityCpus(read: ReadText = readText): number {
	const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(read("/proc/self/status") ?? "")?.[1];
	if (!list) return availableParallelism();
	return list.split(",").reduce((n, range) => {
		const [first, last] = range.split("-").map(Number);
		return n + ((last ?? first ?? 0) - (first ?? 0) + 1);
	}, 0);
}

/** The default of every `threads` option. A quota's part of a CPU counts as a whole one; at least 1. */
export function defaultThreads(read: ReadText = readText): number {
	const quota = cgroupCpuQuota(read);
	return Math.max(1, Math.min(affinityCpus(read), quota === undefined ? Number.POSITIVE_INFINITY : Math.ceil(quota)));
}
