// What a stranger wrote, made fit for state and logs: bounded, one line, no controls.

export const clip = (text: string, length: number): string => (text.length <= length ? text : text.slice(0, length))

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g

export const oneLine = (text: string, length: number): string =>
  clip(
    clip(text, length * 4)
      .replace(controls, ' ')
      .trim(),
    length,
  ).toWellFormed()
