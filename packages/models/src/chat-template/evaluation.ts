import type { Provenance } from './provenance.js';
import type { Scope } from './scope.js';
import type { Template } from './syntax.js';
import type { Value } from './values.js';

/** The message to which the output of a template belongs. */
interface MessagePosition {
  /** Index of the message that is the item of the innermost loop over messages; -1 outside of such a loop. */
  message: number;
  /** False in a loop over other values (positions, tool calls), until a message is assigned to a variable. */
  atMessage: boolean;
}

/** One evaluation of a template: what the functions for statements and expressions share. */
export interface Evaluation {
  readonly template: Template;
  readonly provenance: Provenance;
  /** Returns the index of the message that a value represents; undefined for other values. */
  messageOf(value: Value): number | undefined;
  /** The scope of the template itself. */
  readonly root: Scope;
  /** Where the output of the template belongs. */
  readonly position: MessagePosition;
}
