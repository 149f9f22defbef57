plugins {
    id("com.android.application")
}

android {
    namespace = "org.myqasr.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.myqasr.demo"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    lint {
        warningsAsErrors = false
        abortOnError = true
    }
}

dependencies {
    implementation(project(":core"))
    implementation("org.pytorch:executorch-android:1.5.1")
    implementation("com.google.ai.edge.litert:litert:2.3.0")
}
