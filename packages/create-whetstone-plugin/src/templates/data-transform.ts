import type { Template } from './template.js';

export const dataTransform: Template = {
  description: 'Removes conversations whose last message is too short.',
  configuration: (use) => ({ data: { transforms: [{ use, options: { characters: 2 } }] } }),
  source: ({
    name,
    description,
  }) => `«import type { Conversation, Removal, TransformReport } from '@whetstone/core/contract';
»import { definePlugin } from '@whetstone/core/contract';

const NAME = '${name}';

/** Returns the length of the last message in characters. */
function lengthOf({ messages }«: Conversation») {
  const content = messages.at(-1)?.content;
  return typeof content === 'string' ? content.trim().length : 0;
}

export default definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: NAME,
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      characters: { type: 'integer', minimum: 1, default: 2, description: 'The shortest last message that is kept.' },
    },
  },
  create: ({ characters }) => {
    let report«: TransformReport | undefined»;
    return {
      // Each call is independent of earlier ones.
      async *transform(conversations) {
        const removals«: Removal[]» = [];
        let [conversationsIn, conversationsOut] = [0, 0];
        for await (const conversation of conversations) {
          conversationsIn++;
          const length = lengthOf(conversation);
          if (length >= characters) {
            conversationsOut++;
            yield conversation;
          } else {
            removals.push({ origin: conversation.origin, reason: 'too-short', detail: length + ' characters' });
          }
        }
        const removed = { 'too-short': removals.length };
        report = { name: NAME, conversationsIn, conversationsOut, removed, changed: {}, removals };
      },
      get report() {
        return report;
      },
    };
  },
});
`,
  test: () => `«import type { Conversation } from '@whetstone/core/contract';
»import { createFrom } from '@whetstone/testing';
import { expect, it } from 'vitest';
import plugin from './index.js';

async function* conversationsOf(...replies«: string[]»)«: AsyncGenerator<Conversation>» {
  for (const [index, content] of replies.entries())
    yield { form: 'chat', messages: [{ role: 'assistant', content }], origin: { index } };
}

it('keeps conversations with a long last message, and reports the others', async () => {
  const transform = await createFrom(plugin, { characters: 3 });
  // Each pass returns the same.
  for (let pass = 0; pass < 2; pass++) {
    const kept = [];
    for await (const { messages } of transform.transform(conversationsOf('Yes.', 'No', '  x  ', 'Why')))
      kept.push(messages[0]?.content);
    expect(kept).toEqual(['Yes.', 'Why']);
    expect(transform.report).toMatchObject({
      conversationsIn: 4,
      conversationsOut: 2,
      removed: { 'too-short': 2 },
      removals: [{ origin: { index: 1 } }, { origin: { index: 2 } }],
    });
  }
});

it('refuses a length of zero', async () => {
  await expect(createFrom(plugin, { characters: 0 })).rejects.toThrow(/characters/);
});
`,
};
