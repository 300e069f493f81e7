/**
 * Models that a test file opens and that are freed at its end.
 * @module
 */
import { afterAll } from "vitest";
import { type Model, openModel } from "../../src/engine/model.js";
import type { OpenModelOptions } from "../../src/engine/types.js";

const open: Model[] = [];
afterAll(() => {
	for (const model of open) model.dispose();
});

/** In f32 on two threads unless said otherwise. */
export async function opened(dir: string, options: OpenModelOptions = {}): Promise<Model> {
	const model = await openModel(dir, { dtype: "f32", threads: 2, ...options });
	open.push(model);
	return model;
}
