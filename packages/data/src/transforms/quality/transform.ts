import { defaultsOf, type Conversation } from '@whetstone/core/contract';
import { textOf } from '../../examples/message-text.js';
import { languageMismatch } from '../../report/language.js';
import { createTransform, recipeOf, type ReportingTransform } from '../transform-log.js';
import { qualitySchema, type QualityOptions } from './options.js';

/** A quality problem of a conversation. */
interface QualityFinding {
  readonly reason: string;
  readonly detail: string;
}

type Check = (conversation: Conversation, text: string, options: QualityOptions) => QualityFinding | null;

const percent = (share: number): string => `${Math.round(share * 100)} %`;
const replies = ({ messages }: Conversation): string[] =>
  messages.filter(({ role }) => role === 'assistant').map((message) => textOf(message));
const code = /```[\s\S]*?(?:```|$)/g;

const length: Check = (_, text, { minCharacters, maxCharacters }) => {
  if (text.length < minCharacters) return { reason: 'too-short', detail: `${text.length} characters` };
  return text.length > maxCharacters ? { reason: 'too-long', detail: `${text.length} characters` } : null;
};

const turnCount: Check = ({ messages }, _, { minTurns, maxTurns }) => {
  const turns = messages.filter(({ role }) => role !== 'system').length;
  if (turns < minTurns) return { reason: 'too-few-turns', detail: `${turns} turns` };
  return turns > maxTurns ? { reason: 'too-many-turns', detail: `${turns} turns` } : null;
};

/** Returns the share of a text that is covered by repeated substrings of 10 characters; 0 for short texts. */
export function repetitionShare(text: string): number {
  const size = 10;
  const units = text.replace(/\s+/g, ' ');
  if (units.length < size * 4) return 0;
  const seen = new Set<string>();
  let covered = 0;
  let coveredTo = 0;
  for (let start = 0; start + size <= units.length; start++) {
    const substring = units.slice(start, start + size);
    if (seen.has(substring)) {
      const from = Math.max(coveredTo, start);
      covered += start + size - from;
      coveredTo = start + size;
    } else {
      seen.add(substring);
    }
  }
  return covered / units.length;
}

/** Replies are checked one by one, as repetition between replies is not a problem. */
const repetition: Check = (conversation, _, { maxRepetition }) => {
  const share = Math.max(0, ...replies(conversation).map(repetitionShare));
  return share > maxRepetition ? { reason: 'repetition', detail: `${percent(share)} of a reply is repeated` } : null;
};

const symbols: Check = (_, text, { maxSymbolShare }) => {
  const prose = text.replace(code, '');
  if (prose.length < 10) return null;
  const count = prose.match(/[^\p{L}\p{M}\p{N}\p{P}\s]|[#*_=+|\\/~^<>{}[\]]/gu)?.length ?? 0;
  const share = count / prose.length;
  return share > maxSymbolShare ? { reason: 'symbols', detail: `${percent(share)} symbols` } : null;
};

const language: Check = (_, text, { scripts, minScriptShare }) => {
  if (scripts.length === 0) return null;
  const letters = text.replace(code, '').match(/\p{L}/gu)?.length ?? 0;
  if (letters < 4) return null;
  const allowed =
    text.replace(code, '').match(new RegExp(`[${scripts.map((script) => `\\p{Script=${script}}`).join('')}]`, 'gu'))
      ?.length ?? 0;
  const share = allowed / letters;
  return share < minScriptShare
    ? { reason: 'language', detail: `${percent(share)} of the letters are ${scripts.join(' or ')}` }
    : null;
};

const sameLanguage: Check = (conversation, _, options) => {
  const languages = options.sameLanguage ? languageMismatch(conversation) : null;
  if (languages === null) return null;
  const [asked, answered] = languages;
  return { reason: 'language-mismatch', detail: `questions: ${asked}, answers: ${answered}` };
};

const boilerplate: Check = (conversation, _, { boilerplate: phrases }) => {
  const said = replies(conversation).join('\n').toLowerCase();
  const found = phrases.find((phrase) => said.includes(phrase.toLowerCase()));
  return found === undefined ? null : { reason: 'boilerplate', detail: `a reply contains "${found}"` };
};

/** System messages must be first; then user and assistant alternate, with tools after the assistant, who is last. */
const roleOrder: Check = ({ form, messages }, _, options) => {
  if (!options.roleOrder || form !== 'chat') return null;
  const firstTurn = messages.findIndex(({ role }) => role !== 'system');
  const broken = (detail: string): QualityFinding => ({ reason: 'role-order', detail });
  for (const [index, { role }] of messages.entries()) {
    const before = messages[index - 1]?.role;
    if (role === 'system' && firstTurn !== -1 && index > firstTurn)
      return broken(`a system message is message ${index + 1}`);
    if ((role === 'user' || role === 'assistant') && role === before)
      return broken(`messages ${index} and ${index + 1} have the same role ${role}`);
    if (role === 'tool' && before !== 'assistant' && before !== 'tool')
      return broken(`message ${index + 1} has the role tool and follows ${before ?? 'no message'}`);
    if (role === 'assistant' && index === firstTurn) return broken('the first turn has the role assistant');
  }
  return messages.at(-1)?.role === 'assistant'
    ? null
    : broken(`the last message has the role ${messages.at(-1)?.role ?? '(none)'}`);
};

const emptyTurns: Check = ({ messages }, _, options) => {
  if (!options.emptyTurns) return null;
  const empty = messages.findIndex(
    (message) => textOf(message).trim() === '' && (message.tool_calls?.length ?? 0) === 0,
  );
  return empty === -1 ? null : { reason: 'empty-turn', detail: `message ${empty + 1} is empty` };
};

const endMark = /[.!?…。！？”"'」』）)\]】:：;；~～*`>}|\p{Extended_Pictographic}\p{N}]\s*$/u;

/** Finds replies that end within a sentence (after a connecting word or a comma, or without an end mark) or in code. */
const truncatedReplies: Check = (conversation, _, options) => {
  if (!options.truncatedReplies) return null;
  for (const reply of replies(conversation)) {
    if ((reply.match(/```/g)?.length ?? 0) % 2 === 1)
      return { reason: 'truncated-reply', detail: 'a code block is not closed' };
    const text = reply.trim();
    const ending = JSON.stringify(text.slice(-24));
    if (/[,，、(（]$/u.test(text) || /\s(?:and|or|but|the|a|an|of|to|with|because)$/.test(text))
      return { reason: 'truncated-reply', detail: `a reply ends in ${ending}` };
    if (text.length > 400 && !endMark.test(text) && !/\n[-*\d|#][^\n]*$/.test(text))
      return { reason: 'truncated-reply', detail: `a long reply ends in ${ending}` };
  }
  return null;
};

const checks: readonly Check[] = [
  emptyTurns,
  length,
  turnCount,
  roleOrder,
  truncatedReplies,
  boilerplate,
  repetition,
  symbols,
  language,
  sameLanguage,
];

/** Returns the first quality problem of a conversation, or null. */
export function checkQuality(conversation: Conversation, options: QualityOptions): QualityFinding | null {
  const text = conversation.messages.map((message) => textOf(message)).join('\n');
  for (const check of checks) {
    const finding = check(conversation, text, options);
    if (finding) return finding;
  }
  return null;
}

/** Creates a transform that removes conversations of low quality, with the reason. */
export function createQualityTransform(options: Partial<QualityOptions> = {}): ReportingTransform {
  const all = { ...defaultsOf(qualitySchema), ...options };
  return createTransform(
    'quality-filter',
    () => (conversation, log) => {
      const finding = checkQuality(conversation, all);
      if (!finding) return conversation;
      log.remove(conversation, finding.reason, finding.detail);
      return null;
    },
    recipeOf('quality-filter', all, '.'),
  );
}
