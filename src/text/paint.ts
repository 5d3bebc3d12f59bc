/** What a piece of text is, for the eye. */
export type Tone = "heading" | "quiet" | "good" | "warning" | "danger";

/** Colours a piece of text, or leaves it alone. Pad before painting: colour codes have no width. */
export type Paint = (tone: Tone, text: string) => string;

/** Select Graphic Rendition codes (ECMA-48, 8.3.117). */
const SGR: Readonly<Record<Tone, number>> = { heading: 1, quiet: 2, good: 32, warning: 33, danger: 31 };

/** For files and pipes. */
export const plain: Paint = (_tone, text) => text;

/** For terminals. */
export const coloured: Paint = (tone, text) => `\x1b[${SGR[tone]}m${text}\x1b[0m`;
