import { mount } from "svelte";
import Host from "./Host.svelte";

const target = document.getElementById("host");
if (target !== null) mount(Host, { target });
