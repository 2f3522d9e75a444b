import type { Conversation, Message, RoleCounts, TurnCounts } from '@whetstone/core/contract';
import { isMaskedPrompt, type SupervisionOptions } from '../examples/supervision.js';

type Growing<T> = { -readonly [K in keyof T]: T[K] };

const emptyRole = (role: string): RoleCounts => ({ role, turns: 0, byRole: 0, supervised: 0, weighted: 0 });

/** The counts of an empty data set. */
export const noTurns: TurnCounts = { chats: 0, pairs: 0, maskedPrompts: 0, withSeveralTurns: 0, roles: [] };

const counted = ['turns', 'byRole', 'supervised', 'weighted'] as const;

/** Returns the counts of two data sets together. */
export function mergeTurnCounts(one: TurnCounts, other: TurnCounts): TurnCounts {
  const roles = new Map(one.roles.map((role) => [role.role, { ...role }]));
  for (const more of other.roles) {
    const role: Growing<RoleCounts> = roles.get(more.role) ?? emptyRole(more.role);
    for (const key of counted) role[key] += more[key];
    roles.set(more.role, role);
  }
  return {
    chats: one.chats + other.chats,
    pairs: one.pairs + other.pairs,
    maskedPrompts: one.maskedPrompts + other.maskedPrompts,
    withSeveralTurns: one.withSeveralTurns + other.withSeveralTurns,
    roles: [...roles.values()],
  };
}

/** Counts the conversations and turns to which the options of supervision apply, while the data is read. */
export interface TurnCounter {
  add(conversation: Conversation): void;
  /** Returns plain data, which is cached with the tokens. */
  counts(): TurnCounts;
}

export function createTurnCounter(options: SupervisionOptions): TurnCounter {
  const roles = new Map<string, Growing<RoleCounts>>();
  const all: Growing<TurnCounts> = { ...noTurns };
  const roleOf = (role: string): Growing<RoleCounts> => {
    const known = roles.get(role) ?? emptyRole(role);
    roles.set(role, known);
    return known;
  };
  const trainsRole = ({ role }: Message): boolean => !options.assistantOnlyLoss || options.rolesToTrain.includes(role);

  function addChat(messages: readonly Message[]): void {
    all.chats++;
    const prompt = messages.filter(({ isPrompt }) => isPrompt === true);
    if (prompt.length > 0) all.pairs++;
    // Without assistantOnlyLoss, the prompt includes tokens of the template.
    if (prompt.some((message) => !options.assistantOnlyLoss || (message.train === undefined && trainsRole(message))))
      all.maskedPrompts++;
    let supervised = 0;
    for (const message of messages) {
      const role = roleOf(message.role);
      role.turns++;
      const byRole = message.train === undefined && !isMaskedPrompt(message, options);
      if (byRole) role.byRole++;
      if (!(byRole ? trainsRole(message) : message.train === true)) continue;
      role.supervised++;
      if (message.weight === undefined) role.weighted++;
      supervised++;
    }
    if (supervised > 1) all.withSeveralTurns++;
  }

  return {
    add({ form, messages }) {
      if (form === 'chat') addChat(messages);
      else if (form === 'completion') {
        all.pairs++;
        all.maskedPrompts++;
      }
    },
    counts: () => ({ ...all, roles: [...roles.values()].map((role) => ({ ...role })) }),
  };
}
