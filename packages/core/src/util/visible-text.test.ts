import { expect, it } from 'vitest';
import { publicUrl, visibleText } from './visible-text.js';

it('shows control characters as symbols', () => {
  // Unicode: the control pictures U+2400 to U+2421 are in the order of the controls.
  expect(visibleText('a\0\x07\b\x1b[2J\r\x7fb')).toBe('a\u2400\u2407\u2408\u241b[2J\u240d\u2421b');
  expect(visibleText('\x9b31m \u202egpj.exe\u2066 \u2028')).toBe('<U+009B>31m <U+202E>gpj.exe<U+2066> <U+2028>');
  expect(visibleText('tab\tline\nend 世界 👩‍👩‍👧 é')).toBe('tab\tline\nend 世界 👩‍👩‍👧 é');
});

it('keeps what ordinary text needs', () => {
  // Marks of Arabic and Hebrew, the non-joiner of Persian, joiners of emoji, variation selectors, line ends of Windows.
  const text = 'مرحبا\u061c! שלום\u200f (a)\u200e می\u200cخواهم 👩‍👩‍👧 ❤\ufe0f\r\nend';
  expect(visibleText(text)).toBe(text);
  expect(visibleText('over\rwritten\r\r\n')).toBe('over\u240dwritten\u240d\r\n');
});

it('leaves no credentials in a URL', () => {
  expect(publicUrl('https://user:secret@example.com:8443/v1?key=secret#secret')).toBe('https://example.com:8443/v1');
  expect(publicUrl('http://user@localhost/v1/')).toBe('http://localhost/v1/');
  expect(publicUrl('http://user:secret@bad host/v1?key=secret')).toBe('http://bad host/v1');
  expect(publicUrl('example.com')).toBe('example.com');
});
