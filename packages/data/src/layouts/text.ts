import { keyOf, valueOf, type Layout } from './layout.js';
import { checkText } from './values.js';

/** `{"text"}`: all tokens and the end of text are target tokens. */
export const textLayout: Layout = {
  name: 'text',
  requires: ['text'],
  allows: [],
  read(record, options) {
    const content = checkText(valueOf(record, 'text', options), keyOf('text', options));
    return { form: 'text', messages: [{ role: 'assistant', content }] };
  },
};
