import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { hubCache } from "../../src/engine/hub_cache.js";
import { resolveModel } from "../../src/engine/resolve.js";

let dir: string;
beforeAll(() => {
	dir = mkdtempSync(join(tmpdir(), "fintune-resolve-"));
	const repository = join(dir, "hub/models--org--name");
	mkdirSync(join(repository, "snapshots/abc123"), { recursive: true });
	mkdirSync(join(repository, "snapshots/def456"), { recursive: true });
	mkdirSync(join(repository, "refs"), { recursive: true });
	writeFileSync(join(repository, "refs/main"), "abc123\n");
	mkdirSync(join(dir, "models/base-1b"), { recursive: true });
	writeFileSync(join(dir, "models/base-1b/model.safetensors"), "");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

test("the hub cache lies where huggingface_hub has it", () => {
	expect(hubCache({ HF_HUB_CACHE: "/a" })).toBe("/a");
	expect(hubCache({ HF_HOME: "/b" })).toBe("/b/hub");
	expect(hubCache({ XDG_CACHE_HOME: "/c" })).toBe("/c/huggingface/hub");
	expect(hubCache({ HF_HOME: "~/d" })).toBe(join(homedir(), "d/hub"));
	expect(hubCache({})).toMatch(/\.cache\/huggingface\/hub$/);
});

test("a folder, from where it is named", () => {
	const expected = { dir: join(dir, "models/base-1b"), label: "base-1b", hasWeights: true };
	expect(resolveModel(join(dir, "models/base-1b"))).toEqual(expected);
	expect(resolveModel("models/base-1b", dir)).toEqual(expected);
	expect(resolveModel("./base-1b/", join(dir, "models"))).toEqual(expected);
});

test("a hub id: main, another revision, a commit; a folder of that name comes first", () => {
	const env = { HF_HOME: dir };
	expect(resolveModel("org/name", dir, env)).toEqual({
		dir: join(dir, "hub/models--org--name/snapshots/abc123"),
		label: "org/name",
		hasWeights: false,
	});
	expect(resolveModel("org/name@def456", dir, env).dir).toMatch(/def456$/);
	expect(() => resolveModel("org/name@v2", dir, env)).toThrowError(
		expect.objectContaining({ code: "E_NOT_FOUND", message: expect.stringContaining("revision v2") }),
	);
	expect(resolveModel("models/base-1b", dir, env).label).toBe("base-1b");
});

test.each([
	["org/other", /hf download org\/other/],
	["./org/name", /no such model/],
	["../no-such-place", /no such model/],
	["org/name@../../x", /no such model/],
	["justaname", /a folder with config\.json, a hub id/],
	["", /no model is named/],
])("%j is not there, and the message says how to get it", (name, says) => {
	expect(() => resolveModel(name, dir, { HF_HOME: dir })).toThrowError(
		expect.objectContaining({ code: "E_NOT_FOUND", message: expect.stringMatching(says) }),
	);
});
