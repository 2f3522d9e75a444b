/** The supported layouts of conversations, and their detection. */
import { RowProblem } from '../reading/row.js';
import { alpacaLayout } from './alpaca.js';
import { keyOf, type DataRecord, type Layout, type LayoutOptions } from './layout.js';
import { conversationLayout, messagesLayout } from './messages.js';
import { promptCompletionLayout } from './prompt-completion.js';
import { shareGptLayout } from './share-gpt.js';
import { textLayout } from './text.js';

/** Every layout, in the order in which they are tried. */
const layouts: readonly Layout[] = [
  conversationLayout,
  messagesLayout,
  shareGptLayout,
  promptCompletionLayout,
  alpacaLayout,
  textLayout,
];

export function layoutByName(name: string): Layout | undefined {
  return layouts.find((layout) => layout.name === name);
}

/**
 * Returns the first layout whose required keys the record has.
 *
 * @throws `RowProblem` if there is none
 */
export function detectLayout(record: DataRecord, options: LayoutOptions): Layout {
  const found = layouts.find((layout) => layout.requires.every((column) => keyOf(column, options) in record));
  if (found) return found;
  const keys = Object.keys(record)
    .slice(0, 12)
    .map((key) => `"${key}"`)
    .join(', ');
  const known = layouts
    .map((layout) => layout.requires.map((column) => `"${keyOf(column, options)}"`).join(' + '))
    .join(', ');
  throw new RowProblem(
    `the layout is not recognized: the row has ${keys || 'no keys'}; expected one of ${known}; set ` +
      '"layout" and "columns"',
  );
}

export type { DataRecord, Layout, LayoutOptions } from './layout.js';
export { furtherColumns } from './layout.js';
