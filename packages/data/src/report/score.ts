import { defaultsOf, type Conversation } from '@whetstone/core/contract';
import { textOf, textOfRole } from '../examples/message-text.js';
import { checkQuality, repetitionShare } from '../transforms/quality/transform.js';
import { qualitySchema } from '../transforms/quality/options.js';
import { languageMismatch } from './language.js';
import { termsOf } from './terms.js';

/**
 * A sample's score and its components, each from 0 (bad) to 1 (good). They are heuristics that rank samples for review.
 */
export interface SampleScore {
  /** The replies exist, are complete and are not too short. */
  readonly completeness: number;
  /** The replies are neither repetitive nor excessively long. */
  readonly conciseness: number;
  /** Turns have a valid order of roles, the same language, and in longer conversations some words in common. */
  readonly consistency: number;
  /** From 0 to 100: the mean of the average and the lowest component, halved by other quality problems. */
  readonly total: number;
  /** The quality problem, if any. */
  readonly note: string | null;
  /** Why the turns do not fit one another, if they do not. */
  readonly mismatch: { readonly reason: 'role-order' | 'language'; readonly detail: string } | null;
}

const qualityOptions = defaultsOf(qualitySchema);

const clamp = (value: number): number => Math.min(1, Math.max(0, value));

function completenessOf(replies: readonly string[], reason: string | undefined): number {
  if (replies.length === 0 || reason === 'empty-turn') return 0;
  if (reason === 'truncated-reply') return 0.3;
  const shortest = Math.min(...replies.map((reply) => reply.trim().length));
  // Very short replies may be correct but contain little to learn: the full score needs 12 characters (6 in Chinese).
  const weight = /\p{Script=Han}/u.test(replies.join('')) ? 2 : 1;
  return clamp(0.4 + (0.6 * shortest * weight) / 12);
}

function concisenessOf(replies: readonly string[]): number {
  const longest = Math.max(0, ...replies.map((reply) => reply.length));
  const repetition = Math.max(0, ...replies.map(repetitionShare));
  return clamp(1 - repetition) * clamp(longest <= 6000 ? 1 : 6000 / longest);
}

/** Finds a wrong order of roles, or answers in another language than the questions. */
function mismatchOf(
  conversation: Conversation,
  finding: { readonly reason: string; readonly detail: string } | null,
): SampleScore['mismatch'] {
  if (finding?.reason === 'role-order') return { reason: 'role-order', detail: finding.detail };
  const languages = languageMismatch(conversation);
  if (languages === null) return null;
  const [asked, answered] = languages;
  return { reason: 'language', detail: `questions: ${asked}, answers: ${answered}` };
}

function consistencyOf(conversation: Conversation, mismatch: SampleScore['mismatch']): number {
  if (mismatch?.reason === 'role-order') return 0.2;
  const turns = conversation.messages.filter(({ role }) => role === 'user' || role === 'assistant');
  const language = mismatch === null ? 1 : 0.5;
  if (turns.length < 6) return language;
  const [question, answer] = [textOfRole(conversation, 'user'), textOfRole(conversation, 'assistant')];
  const [askedTerms, answeredTerms] = [new Set(termsOf(question)), new Set(termsOf(answer))];
  const common = [...askedTerms].filter((term) => answeredTerms.has(term)).length;
  return language * clamp(0.6 + (4 * common) / Math.max(1, Math.min(askedTerms.size, answeredTerms.size)));
}

/** Scores a conversation. */
export function scoreSample(conversation: Conversation): SampleScore {
  const replies = conversation.messages.filter(({ role }) => role === 'assistant').map((message) => textOf(message));
  const finding = checkQuality(conversation, qualityOptions);
  const completeness = completenessOf(replies, finding?.reason);
  const conciseness = concisenessOf(replies);
  const mismatch = mismatchOf(conversation, finding);
  const consistency = consistencyOf(conversation, mismatch);
  const components = [completeness, conciseness, consistency];
  const other = finding && !['empty-turn', 'truncated-reply', 'role-order'].includes(finding.reason) ? 0.5 : 1;
  const total = Math.round(
    100 *
      other *
      ((components.reduce((sum, score) => sum + score, 0) / components.length) * 0.5 + Math.min(...components) * 0.5),
  );
  return {
    completeness,
    conciseness,
    consistency,
    total,
    note: finding ? `${finding.reason}: ${finding.detail}` : null,
    mismatch,
  };
}
