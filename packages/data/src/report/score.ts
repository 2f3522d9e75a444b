import type { Conversation } from '@whetstone/core/contract';
import { textOf } from '../examples/message-text.js';
import { judgeQuality, repetitionShare } from '../transforms/quality/checks.js';
import { languageOf } from './language.js';
import { termsOf } from './terms.js';

/**
 * Parts of a sample's score, each from 0 (bad) to 1 (good). They are rules of thumb: they rank samples for a person to
 * look at.
 */
export interface SampleScore {
  /** The replies are there, whole, and long enough for what was asked. */
  readonly completeness: number;
  /** The replies neither repeat themselves nor run on. */
  readonly conciseness: number;
  /** Turns fit one another: order of roles, language, and some words in common over longer conversations. */
  readonly consistency: number;
  /** 0 to 100: the mean of the parts, pulled down by the worst. */
  readonly total: number;
  /** The fault that weighs most, in words, where there is one. */
  readonly note: string | null;
}

const clamp = (value: number): number => Math.min(1, Math.max(0, value));

function completenessOf(replies: readonly string[], reason: string | undefined): number {
  if (replies.length === 0 || reason === 'empty-turn') return 0;
  if (reason === 'truncated-reply') return 0.3;
  const shortest = Math.min(...replies.map((reply) => reply.trim().length));
  // A reply of a few characters can be right, but teaches little: full marks from a dozen (half that in Chinese, where
  // a character says more).
  const weight = /\p{Script=Han}/u.test(replies.join('')) ? 2 : 1;
  return clamp(0.4 + (0.6 * shortest * weight) / 12);
}

function concisenessOf(replies: readonly string[]): number {
  const longest = Math.max(0, ...replies.map((reply) => reply.length));
  const repetition = Math.max(0, ...replies.map(repetitionShare));
  return clamp(1 - repetition) * clamp(longest <= 6000 ? 1 : 6000 / longest);
}

function consistencyOf(conversation: Conversation, reason: string | undefined): number {
  if (reason === 'role-order') return 0.2;
  const turns = conversation.messages.filter(({ role }) => role === 'user' || role === 'assistant');
  const [question, answer] = ['user', 'assistant'].map((role) =>
    turns
      .filter((turn) => turn.role === role)
      .map((turn) => textOf(turn))
      .join('\n'),
  ) as [string, string];
  const [asked, answered] = [languageOf(question), languageOf(answer)];
  const told =
    asked.startsWith('other') || answered.startsWith('other') || asked === 'no letters' || answered === 'no letters';
  const language = told || asked === answered ? 1 : 0.5;
  if (turns.length < 6) return language;
  const [askedTerms, answeredTerms] = [new Set(termsOf(question)), new Set(termsOf(answer))];
  const common = [...askedTerms].filter((term) => answeredTerms.has(term)).length;
  return language * clamp(0.6 + (4 * common) / Math.max(1, Math.min(askedTerms.size, answeredTerms.size)));
}

/** Scores a conversation, part by part. */
export function scoreSample(conversation: Conversation): SampleScore {
  const replies = conversation.messages.filter(({ role }) => role === 'assistant').map((message) => textOf(message));
  const finding = judgeQuality(conversation);
  const completeness = completenessOf(replies, finding?.reason);
  const conciseness = concisenessOf(replies);
  const consistency = consistencyOf(conversation, finding?.reason);
  const parts = [completeness, conciseness, consistency];
  const other = finding && !['empty-turn', 'truncated-reply', 'role-order'].includes(finding.reason) ? 0.5 : 1;
  const total = Math.round(
    100 * other * ((parts.reduce((sum, part) => sum + part, 0) / parts.length) * 0.5 + Math.min(...parts) * 0.5),
  );
  return {
    completeness,
    conciseness,
    consistency,
    total,
    note: finding ? `${finding.reason}: ${finding.detail}` : null,
  };
}
