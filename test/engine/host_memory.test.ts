import { expect, test } from "vitest";
import { hostMemory } from "../../src/engine/host_memory.js";

/** A host with so many MB, beside these files. */
const host = (available: number, content: Record<string, string> = {}) => {
	const meminfo = `MemTotal:        ${8e6} kB\nMemFree:         5 kB\nMemAvailable:    ${available * 1000} kB\n`;
	return (path: string) => ({ "/proc/meminfo": meminfo, ...content })[path];
};
const [MB, kB] = [1024 * 1000, 1024];

test("what the host has available, cache that can be given back included", () => {
	expect(hostMemory(host(3000))).toEqual({ available: 3000 * MB, total: 8e6 * kB });
	const real = hostMemory();
	expect(real.available).toBeGreaterThan(0);
	expect(real.total).toBeGreaterThanOrEqual(real.available);
	expect(hostMemory(() => undefined).total).toBeGreaterThan(0);
});

test("cgroup v2: the tightest limit on the way up, less what is used but for cached pages", () => {
	const read = host(3000, {
		"/proc/self/cgroup": "0::/system.slice/job.service\n",
		"/sys/fs/cgroup/system.slice/job.service/memory.max": "max\n",
		"/sys/fs/cgroup/system.slice/job.service/memory.current": "5000\n",
		"/sys/fs/cgroup/system.slice/memory.max": "1000000\n",
		"/sys/fs/cgroup/system.slice/memory.current": "900000\n",
		"/sys/fs/cgroup/system.slice/memory.stat":
			"anon 500000\nfile 300000\ninactive_file 200000\nactive_file 50000\nslab_reclaimable 10\n",
	});
	expect(hostMemory(read)).toEqual({ available: 350010, total: 1e6 });
});

test("cgroup v2 in a container, where only the mount itself can be seen", () => {
	const read = host(3000, {
		"/proc/self/cgroup": "0::/\n",
		"/sys/fs/cgroup/memory.max": "4000000\n",
		"/sys/fs/cgroup/memory.current": "5000000\n",
	});
	expect(hostMemory(read)).toEqual({ available: 0, total: 4e6 });
});

test("cgroup v1: its own limit, and a number beyond all memory where there is none", () => {
	const limited = (limit: string) =>
		host(3000, {
			"/proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/user\n",
			"/sys/fs/cgroup/memory/user/memory.limit_in_bytes": limit,
			"/sys/fs/cgroup/memory/user/memory.usage_in_bytes": "1000000\n",
			"/sys/fs/cgroup/memory/user/memory.stat": "inactive_file 1\ntotal_inactive_file 400000\ntotal_active_file 100000\n",
		});
	expect(hostMemory(limited("2000000\n"))).toEqual({ available: 1_500_000, total: 2e6 });
	expect(hostMemory(limited("9223372036854771712\n"))).toEqual({ available: 3000 * MB, total: 8e6 * kB });
});

test("the host's own shortage counts below a wide limit", () => {
	const read = host(10, {
		"/proc/self/cgroup": "0::/\n",
		"/sys/fs/cgroup/memory.max": "4000000000\n",
		"/sys/fs/cgroup/memory.current": "0\n",
	});
	expect(hostMemory(read)).toEqual({ available: 10 * MB, total: 4e9 });
});
