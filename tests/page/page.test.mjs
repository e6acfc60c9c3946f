// Knows in which order the page is tried: one server and one browser for all of it.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import * as stage from "./stage.mjs";
import { connection } from "./connection.mjs";
import { looks } from "./looks.mjs";
import { machine } from "./machine.mjs";
import { optimizer } from "./optimizer.mjs";
import { parts } from "./parts.mjs";

describe("the live page", () => {
    before(stage.begin);
    after(stage.end);
    describe("its parts", parts);
    describe("the machine", machine);
    describe("the optimizer", optimizer);
    describe("how it looks", looks);
    describe("the connection", connection);
    it("says no error, breaks no policy and asks nobody else, in all of this", () => {
        assert.deepEqual(stage.trouble, []);
    });
});
