import { publicUrl } from './visible-text.js';

/** Names of environment variables whose values are credentials. */
const SECRET_VARIABLE = /token|secret|passw|key|auth|credential|cookie/i;
/** Shorter values are not searched for: they would hide parts of ordinary words. */
const SHORTEST_SECRET = 6;
/** Texts are cut here, so that a message of others cannot fill a file. */
const MAX_LENGTH = 2000;

// Every repetition is bounded, so that the time is linear in the length of the text.
const URLS = /\b[a-z][a-z0-9+.-]{0,20}:\/\/[^\s"'`<>]{1,2000}/gi;
const AUTHORIZATION = /\b(Bearer|Basic)\s+[\w.~+/=-]{4,2000}/gi;
const ASSIGNMENTS =
  /((?:token|secret|passw(?:or)?d|api[-_]?key|auth(?:orization)?)["']?\s{0,5}[=:]\s{0,5})[^\s,;]{1,2000}/gi;
/** Tokens by the prefixes of Hugging Face, OpenAI, GitHub, GitLab, npm, PyPI, Slack and AWS, and JSON web tokens. */
const TOKENS = /\b(?:hf_|sk-|gh[opsu]_|github_pat_|glpat-|npm_|pypi-|xox[abp]-|AKIA|eyJ)[\w.-]{8,2000}/g;

const HIDDEN = '[hidden]';

/**
 * Returns a text without credentials: user names, passwords, queries and fragments of URLs, tokens of known forms, what
 * follows `token=` and the like, and the values of environment variables whose names say that they are credentials. At
 * most 2,000 characters are kept.
 */
export function withoutCredentials(
  text: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string {
  let result = text;
  for (const [name, value] of Object.entries(environment))
    if (value !== undefined && value.length >= SHORTEST_SECRET && SECRET_VARIABLE.test(name))
      result = result.replaceAll(value, HIDDEN);
  const shortened = result.length > MAX_LENGTH ? `${result.slice(0, MAX_LENGTH)}…` : result;
  return shortened
    .replace(URLS, publicUrl)
    .replace(AUTHORIZATION, `$1 ${HIDDEN}`)
    .replace(ASSIGNMENTS, `$1${HIDDEN}`)
    .replace(TOKENS, HIDDEN);
}

/** What the messages of `JSON.parse` quote of the text. */
const UNPARSED = /(?:\.\.\.)?"[^]{0,200}?"(?:\.\.\.)? is not valid JSON/g;
const QUOTED = /"(?:[^"\\]|\\.){1,2000}"/g;
/** Names, such as those of options, tensors and packages. */
const NAME = /^"[\w.@/\\:*+-]{1,100}"$/;

/** Returns a message without what it quotes of files. Names in quotation marks are kept. */
export const withoutContents = (message: string): string =>
  message.replace(UNPARSED, 'it is not valid JSON').replace(QUOTED, (quoted) => (NAME.test(quoted) ? quoted : '"…"'));
