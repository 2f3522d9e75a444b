import { keyOf, valueOf, type Layout } from './layout.js';
import { checkText } from './values.js';

/** `{"text"}`: learned from the first token to the last, and its end with it. */
export const textLayout: Layout = {
  name: 'text',
  requires: ['text'],
  allows: [],
  read(record, options) {
    const content = checkText(valueOf(record, 'text', options), keyOf('text', options));
    return { form: 'text', messages: [{ role: 'assistant', content }] };
  },
};
