/** How long scoring takes: the whole test split of Headlines, with both scorings and their intervals, within a second. */
import { expect, it } from "vitest";
import { taskByName } from "../../src/tasks/registry.js";

const questions = [
	"Price or Not",
	"Direction Up",
	"Direction Down",
	"Direction Constant",
	"PastPrice",
	"FuturePrice",
	"PastNews",
];
const outputs = ["Yes", " No", "Yes.", "No, the price is not named.", "<think>Gold fell.</think>\nYes", ""];

it("scores 20,547 rows of Headlines", ({ annotate }) => {
	const n = 20_547;
	const docs = Array.from({ length: n }, (_, i) => ({
		choices: ["Yes", "No"],
		gold: i % 3 === 0 ? 0 : 1,
		label_type: questions[i % questions.length],
	}));
	const answers = docs.map((_, i) => outputs[i % outputs.length] as string);
	const task = taskByName("headlines");
	const seconds = (run: () => unknown): number => {
		const start = performance.now();
		run();
		return (performance.now() - start) / 1000;
	};
	const plain = Math.min(...[0, 1].map(() => seconds(() => task.score(docs, answers, { bootstrap: 0 }))));
	const whole = Math.min(...[0, 1].map(() => seconds(() => task.score(docs, answers))));
	void annotate(`${plain.toFixed(2)} s, with both intervals of 1,000 resamples ${whole.toFixed(2)} s`);
	console.log(`20,547 rows scored in ${plain.toFixed(2)} s, with both intervals in ${whole.toFixed(2)} s`);
	// The bars are 1 s for a quiet machine; a busy one gets four times as much.
	expect(plain).toBeLessThan(1);
	expect(whole).toBeLessThan(4);
});
