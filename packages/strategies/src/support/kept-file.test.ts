import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { checkKeptFile } from './kept-file.js';

const baseFolder = resolve('project');
const outputFolder = resolve('project', 'run');

it('a file for later runs is relative to the configuration', () => {
  checkKeptFile('bufferFile', 'kept/buffer', { baseFolder, outputFolder });
  checkKeptFile('bufferFile', 'run/buffer', { baseFolder, outputFolder: null });
  checkKeptFile('bufferFile', 'run/buffer', { baseFolder: resolve('elsewhere'), outputFolder });
  checkKeptFile('bufferFile', 'runs', { baseFolder, outputFolder });
  checkKeptFile('bufferFile', undefined, { baseFolder, outputFolder });
});

it.each(['run/fisher', './run/a/fisher', resolve(outputFolder, 'fisher'), 'run'])(
  'a file for later runs is not in the folder that they replace: %s',
  (path) => {
    expect(() => checkKeptFile('fisherFile', path, { baseFolder, outputFolder })).toThrow(
      expect.objectContaining({ code: 'CONFIG_CONFLICT', found: path }),
    );
  },
);
