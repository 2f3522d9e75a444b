import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { keptFile } from './kept-file.js';

const baseFolder = resolve('project');
const outputFolder = resolve('project', 'run');

it('a file for later runs is relative to the configuration', () => {
  expect(keptFile('bufferFile', 'kept/buffer', { baseFolder, outputFolder })).toBe(resolve(baseFolder, 'kept/buffer'));
  expect(keptFile('bufferFile', 'run/buffer', { baseFolder, outputFolder: null })).toBe(
    resolve(outputFolder, 'buffer'),
  );
  expect(keptFile('bufferFile', 'runs', { baseFolder, outputFolder })).toBe(resolve(baseFolder, 'runs'));
});

it.each(['run/fisher', './run/a/fisher', resolve(outputFolder, 'fisher'), 'run'])(
  'a file for later runs is not in the folder that they replace: %s',
  (path) => {
    expect(() => keptFile('fisherFile', path, { baseFolder, outputFolder })).toThrow(
      expect.objectContaining({ code: 'CONFIG_CONFLICT', found: path }),
    );
  },
);
