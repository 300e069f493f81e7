/**
 * Python's idea of white space, lines and lengths. The leaderboard's code is Python; JavaScript's `trim` and `\s`
 * take U+FEFF for white space and leave U+001C-U+001F and U+0085 alone, so they would score some outputs differently.
 * @module
 */

/** Those above ASCII. */
const wideSpaces = new Set<number>([
	0x85, 0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029,
	0x202f, 0x205f, 0x3000,
]);

/** Whether Python's `str.isspace` holds for this UTF-16 unit (all its blanks lie in the basic plane). */
export function isPySpace(codeUnit: number): boolean {
	if (codeUnit >= 0x80) return wideSpaces.has(codeUnit);
	return (codeUnit >= 0x1c && codeUnit <= 0x20) || (codeUnit >= 0x09 && codeUnit <= 0x0d);
}

/** `str.strip()`. */
export function pyStrip(text: string): string {
	let start = 0;
	let end = text.length;
	while (start < end && isPySpace(text.charCodeAt(start))) start++;
	while (end > start && isPySpace(text.charCodeAt(end - 1))) end--;
	return text.slice(start, end);
}

/** `str.split()`: words between runs of white space, none of them empty. */
export function pySplit(text: string): string[] {
	const words: string[] = [];
	let start = -1;
	for (let i = 0; i <= text.length; i++) {
		if (i === text.length || isPySpace(text.charCodeAt(i))) {
			if (start >= 0) words.push(text.slice(start, i));
			start = -1;
		} else if (start < 0) start = i;
	}
	return words;
}

/** `len(str)`: code points, not UTF-16 units. */
export function pyLength(text: string): number {
	let count = text.length;
	for (let i = 0; i + 1 < text.length; i++) {
		if (isSurrogatePair(text, i)) {
			count--;
			i++;
		}
	}
	return count;
}

/** For each UTF-16 offset (and the end) of `text`, the index of the code point it lies in. */
export function codePointOffsets(text: string): Int32Array {
	const offsets = new Int32Array(text.length + 1);
	let point = 0;
	for (let i = 0; i < text.length; i++) {
		offsets[i] = point;
		if (isSurrogatePair(text, i)) offsets[++i] = point;
		point++;
	}
	offsets[text.length] = point;
	return offsets;
}

function isSurrogatePair(text: string, i: number): boolean {
	const high = text.charCodeAt(i);
	if (high < 0xd800 || high > 0xdbff || i + 1 >= text.length) return false;
	const low = text.charCodeAt(i + 1);
	return low >= 0xdc00 && low <= 0xdfff;
}
