plugins {
    `java-library`
}

// Java 8's library is what Android 7 has of it; the tests use more.
tasks.named<JavaCompile>("compileJava") { options.release.set(8) }
tasks.named<JavaCompile>("compileTestJava") { options.release.set(11) }

dependencies {
    testImplementation("junit:junit:4.13.2")
}

tasks.named<Test>("test") {
    // The clips are written by `make android-test` in the folder above.
    systemProperty("myqasr.golden", file("src/test/resources/golden.json").path)
    systemProperty("myqasr.resources", file("src/test/resources").path)
    systemProperty("myqasr.clips", rootDir.resolve("../build/android/clips").path)
}
