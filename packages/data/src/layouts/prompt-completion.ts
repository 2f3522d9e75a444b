import { describeValue, RowProblem } from '../reading/row.js';
import { keyOf, valueOf, type Layout } from './layout.js';
import { readMessages, readTemplateVariables, readTools } from './message-list.js';
import { checkText } from './values.js';

/**
 * `{"prompt", "completion", "tools"?}`: two texts, which are concatenated, or two lists of messages, which are joined
 * to one chat. The prompt has no target tokens unless `completionOnlyLoss` is false.
 */
export const promptCompletionLayout: Layout = {
  name: 'prompt-completion',
  requires: ['prompt', 'completion'],
  allows: ['tools', 'chat_template_kwargs'],
  read(record, options) {
    const promptKey = keyOf('prompt', options);
    const completionKey = keyOf('completion', options);
    const prompt = valueOf(record, 'prompt', options);
    const completion = valueOf(record, 'completion', options);
    if (Array.isArray(prompt) && Array.isArray(completion)) {
      const before = readMessages(prompt, promptKey, options).map((message) => ({ ...message, isPrompt: true }));
      const tools = readTools(valueOf(record, 'tools', options), keyOf('tools', options));
      return {
        form: 'chat',
        messages: [...before, ...readMessages(completion, completionKey, options)],
        ...(tools === undefined ? {} : { tools }),
        ...readTemplateVariables(record, options),
      };
    }
    if (typeof prompt === 'string' && typeof completion === 'string') {
      return {
        form: 'completion',
        messages: [
          { role: 'user', content: checkText(prompt, promptKey) },
          { role: 'assistant', content: checkText(completion, completionKey) },
        ],
      };
    }
    throw new RowProblem(
      `${promptKey} is ${describeValue(prompt)} and ${completionKey} is ${describeValue(completion)}; expected two ` +
        'texts or two lists of messages',
    );
  },
};
