import type { AddedTokenConfig } from './tokenizer-files.js';

/**
 * A range of text: an added token, or the text between two added tokens. `start` and `end` include white space that
 * belongs to the token.
 */
export interface Section {
  readonly start: number;
  readonly end: number;
  readonly token: AddedTokenConfig | null;
}

interface TrieNode {
  readonly next: Map<number, TrieNode>;
  token: AddedTokenConfig | null;
}

const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/**
 * Creates a function that finds added tokens in a text: the leftmost first, then the longest. It honours `single_word`,
 * `lstrip` and `rstrip`. The returned sections cover the text without gaps; none is empty.
 */
export function createAddedTokenSplitter(
  tokens: readonly { readonly text: string; readonly token: AddedTokenConfig }[],
): (text: string) => Section[] {
  const root: TrieNode = { next: new Map(), token: null };
  for (const { text, token } of tokens) {
    let node = root;
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      let next = node.next.get(unit);
      if (next === undefined) node.next.set(unit, (next = { next: new Map(), token: null }));
      node = next;
    }
    if (text !== '') node.token ??= token;
  }
  return (text) => split(text, root);
}

function split(text: string, root: TrieNode): Section[] {
  const sections: Section[] = [];
  let from = 0;
  for (let at = 0; at < text.length;) {
    const match = root.next.has(text.charCodeAt(at)) ? longestAt(text, at, root) : null;
    if (match === null) {
      at++;
      continue;
    }
    let { start, end } = match;
    if (match.token.single_word === true && !isSingleWord(text, start, end)) {
      at = end;
      continue;
    }
    if (match.token.lstrip === true) start = Math.max(from, start - trailingSpace(text.slice(from, start)));
    if (match.token.rstrip === true) end += leadingSpace(text.slice(end));
    if (start > from) sections.push({ start: from, end: start, token: null });
    sections.push({ start, end, token: match.token });
    from = end;
    at = end;
  }
  if (from < text.length) sections.push({ start: from, end: text.length, token: null });
  return sections;
}

function longestAt(
  text: string,
  start: number,
  root: TrieNode,
): { start: number; end: number; token: AddedTokenConfig } | null {
  let found: { start: number; end: number; token: AddedTokenConfig } | null = null;
  let node: TrieNode | undefined = root;
  for (let at = start; node !== undefined; at++) {
    if (node.token !== null) found = { start, end: at, token: node.token };
    node = at < text.length ? node.next.get(text.charCodeAt(at)) : undefined;
  }
  return found;
}

function isSingleWord(text: string, start: number, end: number): boolean {
  const before = start > 0 ? (Array.from(text.slice(Math.max(0, start - 2), start)).at(-1) ?? '') : '';
  const after = end < text.length ? String.fromCodePoint(text.codePointAt(end) ?? 32) : '';
  return !WORD.test(before) && !WORD.test(after);
}

const leadingSpace = (text: string): number => text.length - text.trimStart().length;
const trailingSpace = (text: string): number => text.length - text.trimEnd().length;
