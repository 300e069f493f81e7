import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { boilerplateTexts } from "../../src/data/boilerplate.js";
import { NearDuplicates } from "../../src/data/near_duplicates.js";
import { normaliseText } from "../../src/data/normalise.js";

const near = (heldOut: string, text: string): boolean =>
	new NearDuplicates([normaliseText(heldOut)]).find(normaliseText(text)).length > 0;

const headline = "Berkshire applies to boost Wells Fargo stake above ten percent";
const long =
	"The company said on Monday that it will close its plant in Hamburg by the end of 2014 and move 350 jobs to Poland, where " +
	"it has built a larger factory with the help of the regional government, and that the costs of 12 million euros will be " +
	"booked in the third quarter, while analysts had expected the move to come a year later.";

describe("near duplicates", () => {
	it.each([
		["the text itself", headline, headline],
		["another word inside", headline, headline.replace("boost", "raise")],
		["another word at the end", headline, headline.replace("percent", "pct")],
		["a prefix", headline, `UPDATE 1 - ${headline}`],
		["words before and after", headline, `Omaha, Monday. ${headline}, a filing showed. Shares rose.`],
		["a word put in", headline, headline.replace("stake", "share stake")],
		["a word left out", headline, headline.replace("boost ", "")],
		["cut off", headline, headline.split(" ").slice(0, 7).join(" ")],
		["six words with a prefix", "Gold prices rise on weak dollar", "RPT: gold prices rise on weak dollar"],
		[
			"in a long text, five words changed",
			long,
			long
				.replace("said", "stated")
				.replace("plant", "works")
				.replace("costs", "charges")
				.replace("later", "after")
				.replace("larger", "big"),
		],
		["in a long text, half of it", long, long.split(" ").slice(0, 38).join(" ")],
	] as [string, string, string][])("finds: %s", (_, heldOut, text) => {
		expect(near(heldOut, text)).toBe(true);
	});

	it.each([
		[
			"the same sentence with another figure",
			"Net sales of the group rose 3 % in March",
			"Net sales of the group rose 4 % in March",
		],
		[
			"a price report of another day",
			"April gold down 20 cents to settle at $1,116.10/oz",
			"April gold down 30 cents to settle at $1,202.50/oz",
		],
		[
			"the same words in another order",
			"Tesla shares fall as Ford gains ground in China",
			"Ford gains in China as shares fall, Tesla ground",
		],
		["a short text with another word inside", "Gold prices rise on weak dollar", "Gold prices rise on strong dollar"],
		["five words, although contained", "Gold rises on weak dollar", "Today gold rises on weak dollar"],
		["its first third", long, long.split(" ").slice(0, 20).join(" ")],
		["a phrase of it", headline, "Wells Fargo stake above ten is no news"],
		[
			"a headline's word pairs here and there in a long text",
			"Gold prices rise on weak dollar data",
			"Gold prices were quoted early. It was said that prices rise in spring. A rise on Monday was seen by all of the traders " +
				"there. Bets on weak crops grew. The weak dollar was no help to them. Later came dollar data for May.",
		],
		["nothing", headline, ""],
	] as [string, string, string][])("does not find: %s", (_, heldOut, text) => {
		expect(near(heldOut, text)).toBe(false);
	});

	it("ignores what more than ten held-out texts share", () => {
		const form = (name: string): string =>
			normaliseText(`${name} - enter your email address below to receive a concise daily summary of the latest news`);
		const firms = ["Acme", "Borealis", "Corvid", "Delta", "Ember", "Fargo", "Gamma", "Helix", "Iota", "Juno", "Kappa", "Lambda"];
		const few = firms.slice(0, boilerplateTexts).map(form);
		const many = firms.slice(0, boilerplateTexts + 1).map(form);
		expect(new NearDuplicates(few).find(form("Zeta"))).toHaveLength(boilerplateTexts);
		expect(new NearDuplicates(many).find(form("Zeta"))).toEqual([]);
		// What stands beside the boilerplate still counts.
		const own = normaliseText("Acme to close its Hamburg plant by the end of the year");
		const index = new NearDuplicates([...many, `${own} ${form("")}`]);
		expect(index.find(own).map(({ index: place }) => place)).toEqual([many.length]);
	});

	it("finds a text by half of its shingles although they are the more common half", () => {
		const half = "one two three four five six";
		const others = ["six seven", "eight nine"].map((end) => `${half} ${end}`);
		const found = new NearDuplicates([`${half} of all the other words`, ...others]).find(half);
		expect(found[0]).toEqual({ index: 0, share: 0.5 });
	});

	it("says which texts, in order, and how much of them", () => {
		const texts = [headline, long, `${headline} a filing showed on Monday`].map(normaliseText);
		expect(new NearDuplicates(texts).find(normaliseText(headline))).toEqual([
			{ index: 0, share: 1 },
			{ index: 2, share: 9 / 14 },
		]);
	});
});

/** The definition, word for word, over every pair and every stretch. */
function bruteForce(heldOut: readonly string[], training: string): { index: number; share: number }[] {
	const shingles = (words: readonly string[]): string[] => words.slice(1).map((word, i) => `${words[i]} ${word}`);
	const numbers = (words: readonly string[]): Set<string> => new Set(words.filter((word) => /\p{N}/u.test(word)));
	const common = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): number => [...a].filter((x) => b.has(x)).length;
	const eights = (words: readonly string[]): string[] =>
		words.map((_, i) => words.slice(i, i + 8).join(" ")).slice(0, Math.max(0, words.length - 7));
	const isBoilerplate = (run: string): boolean => heldOut.filter((text) => eights(text.split(" ")).includes(run)).length > 10;
	const b = training.split(" ");
	return heldOut.flatMap((text, index) => {
		const a = text.split(" ");
		const covered = new Set(eights(a).flatMap((run, i) => (isBoilerplate(run) ? [0, 1, 2, 3, 4, 5, 6].map((k) => i + k) : [])));
		const own = new Set(shingles(a).filter((_, i) => !covered.has(i)));
		if (a.length < 6 || own.size < 5) return [];
		const size = Math.ceil(1.5 * a.length);
		let best = 0;
		for (let start = 0; start <= Math.max(0, b.length - size); start++) {
			const stretch = b.slice(start, start + size);
			const share = common(own, new Set(shingles(stretch))) / own.size;
			const told = common(numbers(a), numbers(stretch));
			if (share >= 0.75 && told >= 0.75 * numbers(a).size) best = Math.max(best, share);
		}
		if (best > 0) return [{ index, share: best }];
		const all = new Set(shingles(b));
		const shared = common(own, all);
		const cut = b.length >= 6 && shared >= 0.75 * all.size && shared >= 0.5 * own.size;
		return cut && common(numbers(b), numbers(a)) >= 0.75 * numbers(b).size ? [{ index, share: shared / own.size }] : [];
	});
}

describe("the index", () => {
	// Few words, so that texts have much in common; some with digits, some that no held-out text has.
	const word = fc.constantFrom("gold", "rises", "on", "weak", "dollar", "3", "12", "5");
	const words = (most: number) => fc.array(word, { minLength: 1, maxLength: most });

	it("finds what a search through all pairs and stretches finds", () => {
		const edited = fc.record({
			heldOut: fc.array(words(14), { minLength: 1, maxLength: 16 }),
			pick: fc.nat(),
			before: fc.array(fc.constantFrom("gold", "and", "9", "on"), { maxLength: 20 }),
			after: fc.array(fc.constantFrom("weak", "but", "5"), { maxLength: 20 }),
			drop: fc.array(fc.nat(13), { maxLength: 3 }),
			change: fc.array(fc.nat(13), { maxLength: 3 }),
		});
		let found = 0;
		fc.assert(
			fc.property(edited, ({ heldOut, pick, before, after, drop, change }) => {
				const texts = [...new Set(heldOut.map((text) => text.join(" ")))];
				const source = texts[pick % texts.length]!.split(" ");
				const middle = source.map((w, i) => (change.includes(i) ? "other" : w)).filter((_, i) => !drop.includes(i));
				const text = [...before, ...middle, ...after].join(" ");
				const expected = bruteForce(texts, text);
				found += expected.length;
				expect(new NearDuplicates(texts).find(text)).toEqual(expected);
			}),
			{ numRuns: 1500, seed: 7 },
		);
		expect(found).toBeGreaterThan(250);
	});

	it("and where boilerplate is left out of account", () => {
		const form = "enter your email address below to receive a concise daily summary".split(" ");
		const withForm = fc.tuple(words(8), words(8)).map(([head, tail]) => [...head, ...form, ...tail].join(" "));
		const lists = fc.array(withForm, { minLength: 12, maxLength: 15 });
		let found = 0;
		fc.assert(
			fc.property(lists, fc.nat(), fc.nat(26), (heldOut, pick, drop) => {
				const texts = [...new Set(heldOut)];
				const words = texts[pick % texts.length]!.split(" ");
				const text = words.filter((_, i) => i !== drop).join(" ");
				const expected = bruteForce(texts, text);
				found += expected.length;
				expect(new NearDuplicates(texts).find(text)).toEqual(expected);
			}),
			{ numRuns: 150, seed: 7 },
		);
		expect(found).toBeGreaterThan(50);
	});
});
