import { expect, test } from "vitest";
import { Turns } from "../src/turns";

function pending(): {
  promise: Promise<string>;
  answer: (value: string) => void;
  fail: (error: Error) => void;
} {
  let answer: (value: string) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  const promise = new Promise<string>((resolve, reject) => {
    answer = resolve;
    fail = reject;
  });
  return { promise, answer, fail };
}

test("a request waits for the one before, and only the last answer counts", async () => {
  const turns = new Turns<string>();
  const [first, second] = [pending(), pending()];
  const heard: string[] = [];
  const done = { answered: (answer: string) => heard.push(answer), failed: () => heard.push("failed") };
  let isSent = false;
  const one = turns.take(() => first.promise, done);
  const two = turns.take((previous) => {
    isSent = previous === "old";
    return second.promise;
  }, done);
  await Promise.resolve();
  expect([isSent, turns.isUnderWay]).toEqual([false, true]);
  first.answer("old");
  await one;
  expect(heard).toEqual([]);
  second.answer("new");
  await two;
  expect([isSent, turns.isUnderWay, heard]).toEqual([true, false, ["new"]]);
});

test("one that fails is passed over by the next, and the last one's failure is told", async () => {
  const turns = new Turns<string>();
  const [first, second] = [pending(), pending()];
  const heard: string[] = [];
  const done = { answered: (answer: string) => heard.push(answer), failed: () => heard.push("failed") };
  const one = turns.take(() => first.promise, done);
  const two = turns.take(() => second.promise, done);
  first.fail(new Error("no"));
  await expect(one).rejects.toThrow("no");
  expect(heard).toEqual([]);
  second.fail(new Error("nor this"));
  await expect(two).rejects.toThrow("nor this");
  expect([heard, turns.isUnderWay]).toEqual([["failed"], false]);
});
