/** What one side generated for one prompt. The ids are absent if the side gives only text. */
export interface Reply {
  readonly ids?: readonly number[];
  readonly text: string;
}

export interface Agreement {
  /** How many replies are equal. */
  readonly same: number;
  readonly replies: number;
  /** Share of the tokens before the first difference of each reply; of characters if one side gives only text. */
  readonly shareBeforeDifference: number;
}

/** Compares replies one by one: by their ids if both sides have them, otherwise by their text. */
export function agreementOf(reference: readonly Reply[], replies: readonly Reply[]): Agreement {
  let same = 0;
  let equal = 0;
  let total = 0;
  for (const [index, expected] of reference.entries()) {
    const reply = replies[index];
    const byIds = expected.ids !== undefined && reply?.ids !== undefined;
    const [left, right] = byIds
      ? [expected.ids ?? [], reply.ids ?? []]
      : [[...expected.text], [...(reply?.text ?? '')]];
    const before = left.findIndex((value, at) => value !== right[at]);
    equal += before === -1 ? left.length : before;
    total += left.length;
    if (before === -1 && left.length === right.length) same++;
  }
  return { same, replies: reference.length, shareBeforeDifference: equal / total };
}
