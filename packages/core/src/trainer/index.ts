/** The public Trainer: composition of a run, and its life. */
export { checkOutputFolder, RESOLVED_CONFIG_FILE } from './output-folder.js';
export * from './trainer.js';
