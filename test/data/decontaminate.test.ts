import { describe, expect, it } from "vitest";
import { decontaminate } from "../../src/data/decontaminate.js";
import { normaliseText } from "../../src/data/normalise.js";

describe("decontaminate", () => {
	it("takes out rows whose text is held out, whatever its blanks, case and punctuation", () => {
		const rows = ["Net sales  rose 3 %.", "net sales rose 3%", "Net sales rose 4 %.", "...", ""];
		const { kept, dropped } = decontaminate(rows, ["NET SALES ROSE 3 %", "..."], (row) => row);
		expect(dropped).toEqual(["Net sales  rose 3 %.", "net sales rose 3%"]);
		expect(kept).toEqual(["Net sales rose 4 %.", "...", ""]);
	});

	it("keeps letters and digits of every script apart", () => {
		expect(normaliseText("Ünï-code, 中国 ½ ＡＢＣ\u00a0x")).toBe("ünï code 中国 1 2 abc x");
		expect(normaliseText("e\u0301")).toBe(normaliseText("é"));
		expect(normaliseText("10.5")).not.toBe(normaliseText("105"));
	});
});
